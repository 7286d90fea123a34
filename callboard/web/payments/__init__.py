"""Payments over HTTP: creating, reading, YooKassa's webhooks."""
