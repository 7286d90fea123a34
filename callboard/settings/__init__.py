"""Settings, read at first use: from the environment, from NAME_FILE and from .env, each also as CALLBOARD_NAME."""

from callboard.settings.fields import ENV_FILE, KEY_BYTES, YOOKASSA_NETWORKS, Network, Settings
from callboard.settings.loading import load_settings, read_all, read_settings
from callboard.settings.old_names import SUCCESSORS, successors
from callboard.settings.roles import ROLES, fields_of
from callboard.settings.sources import PREFIX, is_alias

__all__ = [
    "ENV_FILE",
    "KEY_BYTES",
    "PREFIX",
    "ROLES",
    "SUCCESSORS",
    "YOOKASSA_NETWORKS",
    "Network",
    "Settings",
    "fields_of",
    "is_alias",
    "load_settings",
    "read_all",
    "read_settings",
    "successors",
]
