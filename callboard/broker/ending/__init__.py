"""What becomes of a message, and how that gets into the database with all that belongs to it."""
