"""callboard status, health and doctor."""
