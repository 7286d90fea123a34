"""callboard messages."""
