"""Mail: built from templates, delivered over SMTP, once by the books."""

from callboard.mail.delivery import deliver
from callboard.mail.errors import MailInvalid, MailOutcomeUnknown, MailPostponed, MailRefused
from callboard.mail.message import Attachment, build_email
from callboard.mail.probe import Rehearsal, probe, rehearse
from callboard.mail.rendering import template_names
from callboard.mail.smtp.connection import ServerUnreachable, close_connection
from callboard.mail.transports import Transport, transport_for

__all__ = [
    "Attachment",
    "MailInvalid",
    "MailOutcomeUnknown",
    "MailPostponed",
    "MailRefused",
    "Rehearsal",
    "ServerUnreachable",
    "Transport",
    "build_email",
    "close_connection",
    "deliver",
    "probe",
    "rehearse",
    "template_names",
    "transport_for",
]
