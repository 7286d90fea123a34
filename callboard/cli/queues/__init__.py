"""callboard queues, size and stats."""
