"""What the service does for its own tables: deleting what has outlived its time, rolling up figures."""
