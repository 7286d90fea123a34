"""A mail over SMTP: one connection a thread, its conversation, what went wrong and when."""
