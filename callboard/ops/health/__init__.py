"""How the service is, and what the doctor finds."""
