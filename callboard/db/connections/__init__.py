"""Connections: where they go, how they are opened, bounded, shared and lent."""
