"""Callboard behind a real PgBouncer."""
