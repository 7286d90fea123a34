"""Being alive, and noticing who is not."""
