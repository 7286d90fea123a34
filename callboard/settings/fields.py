"""Every setting: its type, range, default and purpose. The table in docs/settings.md is tested against these fields."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PrivateAttr, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from callboard.errors import ConfigurationError
from callboard.settings.roles import fields_of, reads_env_file
from callboard.settings.sources import read_sources

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: YooKassa's published webhook addresses; the SDK's own list is too narrow for IPv6.
YOOKASSA_NETWORKS = (
    "185.71.76.0/27,185.71.77.0/27,77.75.153.0/25,77.75.156.11/32,77.75.156.35/32,77.75.154.128/25,2a02:5180::/32"
)

#: Secrets, and the account that each belongs to.
ACCOUNTS = {"yukassa_secret_key": "yukassa_shop_id", "smtp_pass": "smtp_user"}
#: The name under which a .env that cannot be read stands among the faults.
ENV_FILE = ".env"

#: Length of ENCRYPTION_KEY once decoded.
KEY_BYTES = 32


def _networks(value: object) -> Any:
    if not isinstance(value, str):
        return value
    return [ipaddress.ip_network(part.strip(), strict=False) for part in value.split(",") if part.strip()]


def _origins(value: object) -> object:
    if not isinstance(value, str):
        return value
    return [part.strip().rstrip("/") for part in value.split(",") if part.strip()]


def _port_or_off(value: object) -> object:
    return None if isinstance(value, str) and value.lower() == "off" else value


def _on_or_off(value: object) -> object:
    match str(value).strip().lower():
        case "on":
            return True
        case "off":
            return False
    if isinstance(value, bool):
        return value
    raise ValueError("must be on or off")


def _names(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Word = BeforeValidator(_lower)
Networks = Annotated[list[Network], NoDecode, BeforeValidator(_networks)]
Switch = Annotated[bool, BeforeValidator(_on_or_off)]
Port = Annotated[int, Field(ge=1, le=65535)]
Attempts = Annotated[int, Field(ge=0, le=1000)]


class Settings(BaseSettings):
    """What an operator can set. Fields are lower-case, variables upper-case; units are in the names."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, validate_default=True)

    _faults: dict[str, str] = PrivateAttr(default_factory=dict)
    _warnings: list[str] = PrivateAttr(default_factory=list)
    _dropped: list[str] = PrivateAttr(default_factory=list)
    _library: dict[str, str] = PrivateAttr(default_factory=dict)

    database_url: SecretStr | None = Field(None, description="Postgres, as postgresql://user:password@host:5432/name")
    log_level: Annotated[Literal["debug", "info", "warn", "warning", "error", "critical"], Word] = Field(
        "info", description="Least severe line kept"
    )
    log_format: Annotated[Literal["console", "json"] | None, Word] = Field(
        None, description="console or json; by default json unless the output is a terminal"
    )

    job_concurrency: int = Field(8, ge=1, le=256, description="Messages that run at once in a worker process (threads)")
    worker_processes: int = Field(1, ge=1, le=64, description="Worker processes that callboard work starts")
    worker_interval_ms: int = Field(5000, ge=50, le=600_000, description="Wait between safety polls, ms")
    max_tasks_per_cycle: int | None = Field(
        None, ge=1, le=10_000, description="Most messages one claim takes; unset: adaptive"
    )
    queue_listen: Switch = Field(
        True, description="on: LISTEN for new messages; off: poll only (PgBouncer, transaction mode)"
    )
    job_queue_name: Annotated[list[str], NoDecode, BeforeValidator(_names)] = Field(
        default_factory=list, description="Queues that callboard work serves, in strict order; unset: all"
    )
    worker_shutdown_s: int = Field(60, ge=1, le=86_400, description="Time running messages get to finish on SIGTERM, s")

    max_email_retry_attempts: Attempts = Field(5, description="Retries after the first run, queue emails")
    max_payment_retry_attempts: Attempts = Field(5, description="Retries after the first run, queue payments")
    max_report_retry_attempts: Attempts = Field(3, description="Retries after the first run, queue reports")
    max_retry_attempts: Attempts = Field(5, description="Retries after the first run, any other queue")

    email_provider: Annotated[Literal["smtp", "console", "file"], Word] = Field(
        "smtp", description="How mail leaves: smtp, console or file"
    )
    email_file_dir: Path = Field(Path(".callboard/mail"), description="Where EMAIL_PROVIDER=file puts .eml files")
    smtp_host: str = Field("localhost", min_length=1, description="Mail server")
    smtp_port: Port = Field(587, description="Mail server's port")
    smtp_user: str | None = Field(None, description="Mail account; unset: no login")
    smtp_pass: SecretStr | None = Field(None, description="Its password")
    smtp_from: str = Field("noreply@localhost", description="Sender's address")
    smtp_from_name: str = Field("Callboard", description="Sender's name")
    smtp_reply_to: str | None = Field(None, description="Address that answers go to; unset: nobody reads them")
    smtp_envelope_from: str | None = Field(None, description="Address that bounces go to; unset: SMTP_FROM")
    smtp_security: Annotated[Literal["starttls", "tls", "none"] | None, Word] = Field(
        None, description="starttls, tls or none; by default tls on port 465, else starttls"
    )
    smtp_greylist_wait_s: float = Field(
        300, gt=0, le=86_400, description="Wait after a mail server said: try again later, s"
    )
    smtp_outage_wait_s: float = Field(
        30, gt=0, le=86_400, description="Wait while the mail server cannot be reached, s"
    )
    smtp_timeout_s: float = Field(30, gt=0, le=600, description="Longest wait for one answer of the mail server, s")

    yukassa_shop_id: str | None = Field(None, description="YooKassa shop")
    yukassa_secret_key: SecretStr | None = Field(None, description="YooKassa secret key")
    yukassa_api_url: str = Field("https://api.yookassa.ru/v3", description="YooKassa API")
    yukassa_webhook_ips: Networks = Field(
        default_factory=lambda: _networks(YOOKASSA_NETWORKS), description="Networks a webhook may come from"
    )
    yukassa_outage_wait_s: float = Field(
        60, gt=0, le=86_400, description="Wait before asking YooKassa again after an unknown outcome, s"
    )
    yukassa_timeout_s: float = Field(35, gt=0, le=120, description="Longest wait for an answer of YooKassa, s")

    api_host: str = Field("0.0.0.0", description="Address the API listens on")  # noqa: S104 - a container's port mapping needs it; /health is all that is open
    api_port: Port = Field(3001, description="Port of the API (alias PORT)")
    api_base_url: str = Field("http://localhost:3001", description="Public address of the API, for links and webhooks")
    frontend_url: Annotated[list[str], NoDecode, BeforeValidator(_origins)] = Field(
        default_factory=list, description="Web origins that may call the API (CORS), comma-separated"
    )
    api_token: SecretStr | None = Field(
        None, description="Bearer token of the API; unset: only webhook and health are open"
    )
    trusted_proxies: Networks = Field(default_factory=list, description="Networks whose X-Forwarded-For is believed")

    report_storage_url: str = Field("file://.callboard/reports", description="Where report files go: file://, s3://, …")
    metrics_host: str = Field("0.0.0.0", description="Address worker metrics and health listen on")  # noqa: S104 - scraped from another pod
    metrics_port: Annotated[Port | None, BeforeValidator(_port_or_off)] = Field(
        9191, description="Port of worker metrics and health, or off (alias PORT)"
    )

    encryption_key: SecretStr | None = Field(None, description="32 random bytes in base64; signs the links in mails")

    history_retention_days: int = Field(30, ge=1, le=3650, description="How long history and attempts are kept, days")
    dead_letter_retention_days: int = Field(90, ge=1, le=3650, description="How long dead letters are kept, days")
    email_retention_days: int = Field(
        90, ge=1, le=3650, description="How long rows of sent and refused mails are kept, days"
    )
    report_retention_days: int = Field(90, ge=1, le=3650, description="How long reports and their files are kept, days")
    payment_event_retention_days: int = Field(
        365, ge=1, le=3650, description="How long webhooks' announcements are kept, days"
    )
    idempotency_retention_days: int = Field(
        7, ge=1, le=3650, description="How long the API's answers are kept for a repeated Idempotency-Key, days"
    )

    @field_validator("yukassa_api_url", "api_base_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname:
            raise ValueError("must be an http:// or https:// address")
        return value.rstrip("/")

    @field_validator("encryption_key")
    @classmethod
    def _is_a_key(cls, value: SecretStr | None) -> SecretStr | None:
        try:
            is_key = value is None or len(base64.b64decode(value.get_secret_value(), validate=True)) == KEY_BYTES
        except ValueError:
            is_key = False
        if not is_key:
            raise ValueError("must be 32 bytes in base64; make one with: openssl rand -base64 32")
        return value

    @field_validator("frontend_url")
    @classmethod
    def _are_origins(cls, value: list[str]) -> list[str]:
        for origin in value:
            if origin == "*" or urlsplit(origin).scheme not in ("http", "https"):
                raise ValueError("must be web origins such as https://shop.example, never *")
        return value

    @field_validator("yukassa_secret_key", "smtp_pass")
    @classmethod
    def _comes_with_its_account(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        # A validator of the second field, so that the problem is reported together with all others.
        account = ACCOUNTS[str(info.field_name)]
        if account in info.data and (value is None) != (info.data[account] is None):
            raise ValueError(f"must be set together with {account.upper()}, or neither")
        return value

    @property
    def smtp_security_mode(self) -> Literal["starttls", "tls", "none"]:
        """Return how the mail connection is secured, by the port where nothing is set."""
        return self.smtp_security or ("tls" if self.smtp_port == 465 else "starttls")  # noqa: PLR2004 - the port of SMTP over TLS

    def max_retries(self, queue_name: str) -> int:
        """Return how often a message of the queue is retried after its first run."""
        return {
            "emails": self.max_email_retry_attempts,
            "payments": self.max_payment_retry_attempts,
            "reports": self.max_report_retry_attempts,
        }.get(queue_name, self.max_retry_attempts)

    @property
    def faults(self) -> Mapping[str, str]:
        """What is wrong, by field; reading such a field raises it. ENV_FILE stands for all that .env may set."""
        return self._faults

    @property
    def warnings(self) -> list[str]:
        """What works and is probably not meant, a sentence each."""
        return self._warnings

    @property
    def library(self) -> Mapping[str, str]:
        """Variables of libraries that .env sets and the environment does not."""
        return self._library

    @property
    def dropped(self) -> tuple[str, ...]:
        """What was left out of DATABASE_URL, as only other drivers read it."""
        return tuple(self._dropped)

    def or_default(self, name: str) -> Any:
        """Return a field's value, or its default while it is wrong."""
        is_wrong = name in self._faults
        return type(self).model_fields[name].get_default(call_default_factory=True) if is_wrong else getattr(self, name)

    def check(self, role: str) -> None:
        """Return if a role can work with what is set. Raises: ConfigurationError with all that it cannot."""
        if problems := self.problems_of(role):
            raise ConfigurationError(*problems)

    def problems_of(self, role: str) -> list[str]:
        """Return a sentence for everything wrong that the role uses."""
        used = [*fields_of(role, type(self).model_fields), *([ENV_FILE] if reads_env_file(role) else [])]
        return list(dict.fromkeys(self._faults[name] for name in used if name in self._faults))

    if not TYPE_CHECKING:  # What is not there is an error to mypy.

        def __getattr__(self, name: str) -> Any:
            if name in type(self).model_fields:
                raise ConfigurationError(self._faults[name])
            return super().__getattr__(name)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the parent's signature, here and below
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _Sources(settings_cls, getattr(dotenv_settings, "env_file", None))


class _Sources(PydanticBaseSettingsSource):
    """Our own reading in place of the library's: twins, files and what .env holds."""

    def __init__(self, settings_cls: type[BaseSettings], env_file: Any) -> None:
        super().__init__(settings_cls)
        self._env_file = env_file

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # All are read at once.

    def __call__(self) -> dict[str, Any]:
        names = [name.upper() for name in self.settings_cls.model_fields]
        return {name.lower(): value for name, value in read_sources(names, self._env_file).values.items()}
