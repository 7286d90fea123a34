"""Which settings stop whom: each role is refused for what it uses, and for nothing else."""

from __future__ import annotations

from collections.abc import Iterable

#: Roles, and what each is. A broken value of a variable that a role does not use never stops it.
ROLES = {
    "producer": "a service that sends",
    "migrator": "callboard db upgrade",
    "operator": "commands that look into the queues and change them",
    "worker": "dramatiq actors",
    "work": "callboard work, with its worker processes",
    "api": "callboard api",
}
#: What every role needs to find the database.
_DATABASE = {"database_url"}
#: Read by callboard work for its processes, which are told by their command line.
_SUPERVISOR = {"job_concurrency", "worker_processes", "worker_shutdown_s", "job_queue_name"}
_WORKER_ONLY = {
    *("worker_interval_ms", "max_tasks_per_cycle", "metrics_host", "metrics_port"),
}
_WORKER_ONLY_BEGINNINGS = ("email_", "smtp_")
_WORKER_ONLY_END = "_retention_days"
_API_ONLY = {
    *("api_host", "api_port", "api_token", "frontend_url", "trusted_proxies", "yukassa_webhook_ips"),
}


def fields_of(role: str, fields: Iterable[str]) -> list[str]:
    """Return the fields that a role uses, in their order. A field that nobody placed counts for workers and API."""
    return [name for name in fields if _uses(role, name)]


def _uses(role: str, name: str) -> bool:
    is_workers = name in _WORKER_ONLY or name.startswith(_WORKER_ONLY_BEGINNINGS) or name.endswith(_WORKER_ONLY_END)
    match role:
        case "producer" | "migrator" | "operator":
            return name in _DATABASE
        case "worker":
            return name not in _API_ONLY and name not in _SUPERVISOR
        case "work":
            return name not in _API_ONLY
        case "api":
            return name not in _SUPERVISOR and not is_workers
    raise ValueError(f"There is no role {role!r}. There are: {', '.join(ROLES)}.")


def reads_env_file(role: str) -> bool:
    """Whether .env must be readable: without it, a worker or an API would run on defaults that nobody meant."""
    return role in ("worker", "work", "api")
