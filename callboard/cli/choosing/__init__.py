"""Choosing what a command changes, and the question before it does."""
