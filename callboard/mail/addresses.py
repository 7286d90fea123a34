"""Mail addresses: checked by their form alone, with the domain as ASCII, safe to stand in a header."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.headerregistry import Address

from email_validator import EmailNotValidError, validate_email

from callboard.log import mask_addresses
from callboard.mail.errors import MailInvalid

#: Lone surrogates too: JSON can carry them, no mail can.
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
#: "Name <a@b>", the name quoted or not; email-validator would want every non-ASCII name quoted.
_NAMED = re.compile(r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^"<>]*))\s*<(?P<address>[^<>]*)>')
#: Names that public mail never has, so email-validator refuses them; a company's own server may have them.
_INTERNAL = re.compile(
    r"(?P<local>.+)@(?P<domain>(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*(?:localhost|local))", re.IGNORECASE
)
_LONGEST_SHOWN = 100
#: Readers of mail disagree about more than one space in a name.
_SPACES = re.compile(r"\s{2,}")


@dataclass(frozen=True)
class MailAddress:
    """One mailbox: local_part as the owner writes it, domain in ASCII."""

    local_part: str
    domain: str
    name: str = ""

    @property
    def mailbox(self) -> str:
        """Return the address as SMTP's envelope wants it."""
        return f"{self.local_part}@{self.domain}"

    @property
    def needs_smtputf8(self) -> bool:
        """Return whether only a server with SMTPUTF8 can take it: a domain has an ASCII form, a local part has none."""
        return not self.local_part.isascii()

    def header(self) -> Address:
        """Return the address as email's own class, for whoever reads headers."""
        return Address(self.name, self.local_part, self.domain)


def refuse_control_characters(value: str, what: str) -> str:
    """Return value, or raise MailInvalid where it holds what could start another header line."""
    if CONTROL_CHARACTERS.search(value):
        raise MailInvalid(
            f"The {what} {value[:_LONGEST_SHOWN]!r} holds a line break or control character. Send it without."
        )
    return value


def clean_name(value: str, what: str) -> str:
    """Return the name of a person or firm in one line, with one space between two of its words.

    Raises: MailInvalid.
    """
    return _SPACES.sub(" ", refuse_control_characters(value, what)).strip()


def parse_address(value: object, what: str) -> MailAddress:
    """Read "a@b" or "Name <a@b>"; no DNS is asked. what names the field in the error.

    Raises: MailInvalid.
    """
    if not isinstance(value, str):
        raise MailInvalid(f"The {what} must be one mail address as text, got {type(value).__name__}.")
    text = refuse_control_characters(value, what).strip()
    name = ""
    if named := _NAMED.fullmatch(text):
        given = re.sub(r"\\(.)", r"\1", named["quoted"]) if named["quoted"] is not None else named["plain"]
        name = clean_name(given, what)
        text = named["address"].strip()
    internal = _INTERNAL.fullmatch(text)
    try:
        # A host without a dot is the mail server's business to accept or refuse.
        found = validate_email(
            f"{internal['local']}@internal.test" if internal else text,
            check_deliverability=False,
            globally_deliverable=False,
            test_environment=True,
        )
    except EmailNotValidError as error:
        shown = mask_addresses(value[:_LONGEST_SHOWN])
        raise MailInvalid(
            f"The {what} {shown!r} is not one mail address: {error} Correct it and send again."
        ) from error
    domain = internal["domain"].lower() if internal else found.ascii_domain
    return MailAddress(found.local_part, domain, name)
