"""callboard dead, and the old names of its commands."""
