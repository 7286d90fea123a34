"""Callboard as a peer among peers: the broker on its own, and the whole service."""

#: Messages of one send_many.
BULK_CHUNK = 1000
