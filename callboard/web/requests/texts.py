"""Types of request fields that need more than a length."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, Field


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not hold the character NUL")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must not hold half of a surrogate pair")
    return text


def _email(text: str) -> str:
    try:
        # .test is for tests; whether a domain takes mail is found out when mail is sent.
        return validate_email(text, check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError as error:
        raise ValueError(f"is no mail address: {error}") from error


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    is_plain = text.isprintable() and " " not in text and "\\" not in text
    if not is_plain or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http:// or https:// address")
    return text


#: Text that Postgres can store, kept exactly as it came.
Text = Annotated[str, AfterValidator(_storable)]
Email = Annotated[
    str, Field(max_length=254, json_schema_extra={"format": "email"}), AfterValidator(_storable), AfterValidator(_email)
]
WebAddress = Annotated[str, Field(max_length=2048, json_schema_extra={"format": "uri"}), AfterValidator(_web_address)]
