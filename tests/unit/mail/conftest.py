from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from callboard.mail import build_email, close_connection
from callboard.mail.smtp.health import mail_health
from callboard.mail.smtp.transport import SmtpTransport
from callboard.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from email.message import EmailMessage

MESSAGE_ID = "0b6f5f0e-3c52-4a55-9d1c-8a8f6c1f7a10"


@pytest.fixture(autouse=True)
def _own_connection_and_health() -> Iterator[None]:
    """Leave no connection and no remembered trouble to the next test."""
    for remembered in (mail_health._troubles, mail_health._troubled_since_s, mail_health._failing):
        remembered.clear()
    yield
    close_connection()


@pytest.fixture
def settings_for() -> Callable[..., Settings]:
    """Settings for a plain SMTP server on a port of this machine."""

    def settings_for(port: int = 25, **others: Any) -> Settings:
        values = {"smtp_host": "127.0.0.1", "smtp_port": port, "smtp_security": "none", "smtp_timeout_s": 5}
        return load_settings(**(values | {"smtp_from": "shop@shop.test"} | others))

    return settings_for


@pytest.fixture
def settings(settings_for: Callable[..., Settings]) -> Settings:
    return settings_for()


@pytest.fixture
def email(settings: Settings) -> EmailMessage:
    return build_email(settings, message_id=MESSAGE_ID, to="ann@x.test", template="welcome", context={"name": "Ann"})


@pytest.fixture
def send(settings_for: Callable[..., Settings], email: EmailMessage) -> Callable[..., str]:
    """Send a mail over SMTP to a server of the test and return its answer."""

    def send(server: Any, message: EmailMessage = email, **others: Any) -> str:
        return SmtpTransport(settings_for(server.port, **others)).send(message)

    return send
