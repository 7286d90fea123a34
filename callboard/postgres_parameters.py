"""The parameters after a Postgres address: values that libpq takes, and names that only other drivers know."""

from __future__ import annotations

import re

_FOREIGN_OF = {
    "Prisma": "pgbouncer schema connection_limit pool_timeout socket_timeout sslaccept sslidentity",
    "asyncpg and SQLAlchemy": "statement_cache_size prepared_statement_cache_size prepared_statement_name_func "
    "async_fallback command_timeout max_cached_statement_lifetime pool_size max_overflow pool_recycle pool_pre_ping",
    "psycopg 3": "prepare_threshold prepared_max row_factory autocommit",
    "Django": "conn_max_age conn_health_checks disable_server_side_cursors atomic_requests engine",
    "Rails, Laravel and Doctrine": "pool checkout_timeout reaping_frequency idle_timeout prepared_statements adapter "
    "encoding charset collation serverversion prefix",
    "node-postgres and hosted pools": "max min idletimeoutmillis connectiontimeoutmillis query_timeout uselibpqcompat "
    "supa workaround pooler pool_mode",
    "pgx and lib/pq": "pool_max_conns pool_min_conns pool_max_conn_lifetime pool_max_conn_idle_time "
    "pool_health_check_period default_query_exec_mode statement_cache_capacity statement_cache_mode "
    "description_cache_capacity binary_parameters",
    "JDBC": "currentschema applicationname preparethreshold rewritebatchedinserts binarytransfer sslfactory "
    "sockettimeout connecttimeout logintimeout tcpkeepalive stringtype loggerlevel autosave defaultrowfetchsize "
    "preferquerymode",
}
#: What other drivers and frameworks read in the same address, by whom; dropping it changes nothing for us.
FOREIGN = {name: owner for owner, names in _FOREIGN_OF.items() for name in names.split()}
#: What to set here where one of them was set for a reason.
HINTS = {
    "pgbouncer": " (behind a pooler in transaction mode set QUEUE_LISTEN=off)",
    "schema": " (our tables are in the schemas callboard and dramatiq)",
    "sslaccept": " (sslmode=verify-full looks at the certificate)",
}
#: What `ssl=` means for the drivers that have it; None: nothing is asked for.
SSL_WORDS: dict[str, str | None] = {
    **dict.fromkeys(("true", "1", "on", "yes"), "require"),
    **dict.fromkeys(("false", "0", "off", "no"), None),
    **{mode: mode for mode in ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")},
}
_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_WORDS: dict[str, tuple[str, ...]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "sslcertmode": ("disable", "allow", "require"),
    "gssencmode": ("disable", "prefer", "require"),
    "channel_binding": ("disable", "prefer", "require"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    "load_balance_hosts": ("disable", "random"),
    "sslcompression": ("0", "1"),
    "sslsni": ("0", "1"),
    "keepalives": ("0", "1"),
    "gssdelegation": ("0", "1"),
}
#: libpq takes these names in any case.
_TLS_NAMES = ("ssl_min_protocol_version", "ssl_max_protocol_version")
_NUMBERS = ("connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")
_REMEDIES = {
    "no-verify": "require encrypts without looking at the certificate, as no-verify does elsewhere",
    "true": "require is what true means elsewhere",
    "verify": "verify-full looks at the certificate and the host's name",
    "verify_full": "it is written verify-full",
    "verify_ca": "it is written verify-ca",
}
_PORT_MAX = 65535


def wrong_value(key: str, value: str) -> str | None:
    """Return what a parameter's value must be when libpq would not take this one, else None. An empty one is unset."""
    wanted = None
    if key == "port":
        ports = [port for port in value.split(",") if port]
        if not all(re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) <= _PORT_MAX for port in ports):
            wanted = f"a number from 1 to {_PORT_MAX}"
    elif key in _NUMBERS:
        if value and not re.fullmatch(r"\s*-?[0-9]{1,9}\s*", value):
            wanted = "a whole number"
    elif key in _TLS_NAMES:
        if value and value.lower() not in {version.lower() for version in _TLS_VERSIONS}:
            wanted = f"one of {', '.join(_TLS_VERSIONS)}"
    elif key in _WORDS:
        if value and value not in _WORDS[key]:
            remedy = _REMEDIES.get(value.lower()) if key == "sslmode" else None
            wanted = f"one of {', '.join(_WORDS[key])}" + (f"; {remedy}" if remedy else "")
    elif key == "replication" and value not in ("0", "off", "false", "no"):
        wanted = "left out, as such a connection takes no ordinary statements"
    return wanted
