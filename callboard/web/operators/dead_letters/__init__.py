"""/api/v1/dead: what failed for good."""
