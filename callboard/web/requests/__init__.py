"""What surrounds every request: who asks, what is refused, how errors look."""
