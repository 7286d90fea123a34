"""How the queues stand and move, and holding them."""
