"""Taking messages from the database: when, which, and how many."""
