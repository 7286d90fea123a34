"""Trying the mail settings without sending anything."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from callboard.errors import ConfigurationError
from callboard.mail.connection import borrow_connection, close_connection

if TYPE_CHECKING:
    from callboard.settings import Settings


def probe(settings: Settings) -> str:
    """Return in words how mail would leave, after a connection and a login where a server is concerned.

    Raises: ServerUnreachable, ConfigurationError.
    """
    match settings.email_provider:
        case "console":
            return "Mail is shown on the console (EMAIL_PROVIDER=console)."
        case "file":
            folder = settings.email_file_dir
            parent = next(place for place in (folder, *folder.absolute().parents) if place.exists())
            if not parent.is_dir() or not os.access(parent, os.W_OK):
                raise ConfigurationError(
                    f"EMAIL_FILE_DIR {str(folder)!r} cannot be written. Make the folder writable, or set another."
                )
            return f"Mail goes to files in {folder} (EMAIL_PROVIDER=file)."
    try:
        borrow_connection(settings)
    finally:
        close_connection()
    login = f"takes the login of {settings.smtp_user}" if settings.smtp_user else "is reached, without a login"
    return f"{settings.smtp_host}:{settings.smtp_port} {login} ({settings.smtp_security_mode})."
