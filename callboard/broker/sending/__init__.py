"""Getting messages into the database: as checked rows, one or many, with a ring of the doorbell."""
