"""`callboard …`: one command for developers and operators."""

from callboard.cli.main import app, main

__all__ = ["app", "main"]
