"""Dramatiq's results and rate limits, on Postgres."""
