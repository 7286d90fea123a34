"""Actors that send mail."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

from callboard.app import actor, get_pool, get_settings
from callboard.broker import current_delivery

#: An order's id comes from outside and becomes part of a file name.
_NOT_IN_A_NAME = re.compile(r"[^\w.-]+")


@actor(queue_name="emails")
def send_email(to: str, template: str, context: dict[str, Any], attach: list[str] | None = None) -> None:
    """Send one mail: to is "a@b" or "Name <a@b>", context fills the template.

    attach names kinds of reports that are made as PDF from the same context and go with the mail. Every attempt
    carries the same Message-ID; a message that comes again after its mail was sent sends nothing.
    """
    from callboard.mail import Attachment, deliver
    from callboard.reports import render

    delivery = current_delivery()
    message_id = delivery.message_id if delivery else str(uuid4())
    number = _NOT_IN_A_NAME.sub("_", str(context.get("order_id") or message_id))[:100]
    attachments = [
        Attachment(f"{kind}-{number}.pdf", render(kind, "pdf", context), "application/pdf") for kind in attach or ()
    ]
    deliver(
        get_settings(),
        get_pool(),
        message_id=message_id,
        to=to,
        template=template,
        context=context,
        attachments=attachments,
    )
