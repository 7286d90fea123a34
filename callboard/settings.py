"""Every setting, read from the environment, from NAME_FILE and from .env; checked all at once.

The table in docs/settings.md is tested against these fields. Unknown variables are ignored, the old
workers' variables that have a successor are named by successors().
"""

from __future__ import annotations

import base64
import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from callboard.errors import ConfigurationError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: YooKassa's published webhook addresses; the SDK's own list is too narrow for IPv6.
YOOKASSA_NETWORKS = (
    "185.71.76.0/27,185.71.77.0/27,77.75.153.0/25,77.75.156.11/32,77.75.156.35/32,77.75.154.128/25,2a02:5180::/32"
)

#: Length of ENCRYPTION_KEY once decoded.
KEY_BYTES = 32

#: Variables of the workers Callboard replaces, and what to set now.
SUCCESSORS = {
    "SUPABASE_URL": "DATABASE_URL",
    "SUPABASE_SERVICE_ROLE_KEY": "DATABASE_URL",
    "DB_QUEUE_RETRY_AFTER": "nothing: a dead worker's messages run again within 5 s",
    "QUEUE_CONNECTION": "DATABASE_URL",
    "JOB_QUEUE_NAME": "callboard work --queues",
    "REDIS_URL": "DATABASE_URL",
}


def _networks(value: object) -> Any:
    if not isinstance(value, str):
        return value
    return [ipaddress.ip_network(part.strip(), strict=False) for part in value.split(",") if part.strip()]


def _origins(value: object) -> object:
    if not isinstance(value, str):
        return value
    return [part.strip().rstrip("/") for part in value.split(",") if part.strip()]


def _port_or_off(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() == "off" else value


def _on_or_off(value: object) -> object:
    match str(value).strip().lower():
        case "on":
            return True
        case "off":
            return False
    if isinstance(value, bool):
        return value
    raise ValueError("must be on or off")


Networks = Annotated[list[Network], NoDecode, BeforeValidator(_networks)]
Switch = Annotated[bool, BeforeValidator(_on_or_off)]
Port = Annotated[int, Field(ge=1, le=65535)]
Attempts = Annotated[int, Field(ge=0, le=1000)]


class Settings(BaseSettings):
    """What an operator can set. Fields are lower-case, variables upper-case; units are in the names."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        validate_default=True,
    )

    database_url: SecretStr | None = Field(None, description="Postgres, as postgresql://user:password@host:5432/name")
    log_level: Literal["debug", "info", "warn", "warning", "error"] = Field(
        "info", description="Least severe line kept"
    )
    log_format: Literal["console", "json"] | None = Field(
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
    worker_shutdown_s: int = Field(60, ge=1, le=86_400, description="Time running messages get to finish on SIGTERM, s")

    max_email_retry_attempts: Attempts = Field(5, description="Retries after the first run, queue emails")
    max_payment_retry_attempts: Attempts = Field(5, description="Retries after the first run, queue payments")
    max_report_retry_attempts: Attempts = Field(3, description="Retries after the first run, queue reports")
    max_retry_attempts: Attempts = Field(5, description="Retries after the first run, any other queue")

    email_provider: Literal["smtp", "console", "file"] = Field(
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
    smtp_security: Literal["starttls", "tls", "none"] | None = Field(
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
    api_port: Port = Field(
        3001, validation_alias=AliasChoices("api_port", "port"), description="Port of the API (alias PORT)"
    )
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
        9191, description="Port of worker metrics and health, or off"
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

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and urlsplit(value.get_secret_value()).scheme not in ("postgresql", "postgres"):
            raise ValueError("must start with postgresql://")
        return value

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
        account = {"yukassa_secret_key": "yukassa_shop_id", "smtp_pass": "smtp_user"}[str(info.field_name)]
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

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the parent's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, FileSource(settings_cls), dotenv_settings


class FileSource(PydanticBaseSettingsSource):
    """Read the value of NAME from the file that NAME_FILE names, as container secrets are mounted."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        path = os.environ.get(f"{field_name.upper()}_FILE")
        if not path:
            return None, field_name, False
        try:
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"{field_name.upper()}_FILE names {path!r}, which cannot be read ({error}). "
                "Mount the file or unset the variable."
            ) from error

    def __call__(self) -> dict[str, Any]:
        problems: list[str] = []
        values: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            try:
                value, key, _ = self.get_field_value(field, name)
            except ConfigurationError as error:
                problems.extend(error.problems)
                continue
            if value:
                alias = field.validation_alias
                values[str(alias.choices[0]) if isinstance(alias, AliasChoices) else key] = value
        if problems:
            raise ConfigurationError(*problems)
        return values


def load_settings(**overrides: Any) -> Settings:
    """Read and check all settings.

    Raises: ConfigurationError with one line a problem: the variable, its value unless secret, what to do.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise ConfigurationError(*(_problem(dict(item)) for item in error.errors())) from None


def successors(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each variable of the old workers that is set and has a successor here."""
    return [
        f"{old} is no longer read. Set {new} instead."
        if not new.startswith("nothing")
        else f"{old} is no longer read; set {new}."
        for old, new in SUCCESSORS.items()
        if environ.get(old)
    ]


def _problem(item: dict[str, Any]) -> str:
    """Phrase one validation error as variable, value, remedy."""
    location = item["loc"]
    text = str(item["msg"]).removeprefix("Value error, ")
    if not location:
        return text
    name = str(location[0]).lower()
    field = Settings.model_fields.get("api_port" if name == "port" else name)
    variable = name.upper()
    is_secret = field is not None and "SecretStr" in str(field.annotation)
    got = "a secret value that is not shown" if is_secret else repr(item.get("input"))
    text = text[:1].lower() + text[1:]
    default = "" if field is None or field.is_required() or field.default is None else f" for {_shown(field.default)}"
    purpose = f" ({field.description})" if field is not None else ""
    return f"{variable}{purpose}: {text}, got {got}. Correct it in the environment or remove it{default}."


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "the default" if "Undefined" in str(value) else str(value)
