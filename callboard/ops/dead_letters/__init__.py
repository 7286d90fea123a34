"""What failed for good: finding, retrying, discarding it."""
