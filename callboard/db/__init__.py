"""Postgres: connections with deadlines, statements from files, the schema and its revisions."""

from callboard.db.connections.connect_failures import RECONNECT_ERRORS
from callboard.db.connections.deadline import deadline
from callboard.db.connections.pool import CALL_TIMEOUT_S, Pool
from callboard.db.connections.session import CONNECTION_ERRORS, connect
from callboard.db.sql import sql

__all__ = ["CALL_TIMEOUT_S", "CONNECTION_ERRORS", "RECONNECT_ERRORS", "Pool", "connect", "deadline", "sql"]
