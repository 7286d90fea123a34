"""POST /webhooks/yookassa: keep the announcement, have it checked, answer at once."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from actors.payments import process_payment_event
from callboard import payments
from callboard.broker import send_in
from callboard.log import get_logger
from callboard.web.limits.lanes import Lane
from callboard.web.requests.access import webhook_sender
from callboard.web.requests.client_address import Address
from callboard.web.state import CurrentState, through

log = get_logger(__name__)
router = APIRouter(prefix="/webhooks", tags=["webhooks"])


class AnnouncedObject(BaseModel):
    """All we read of an announced object: which one to ask YooKassa about."""

    id: Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{1,64}$")]


class Notification(BaseModel):
    """A webhook of YooKassa; the rest of it is not read, as anybody could have written it."""

    event: Annotated[str, Field(pattern=r"^[a-z_]+(\.[a-z_]+)+$", max_length=64)]
    object: AnnouncedObject


class Received(BaseModel):
    """YooKassa reads nothing but the status."""

    status: str = "ok"


@router.post("/yookassa", dependencies=[Depends(webhook_sender), through(Lane.WEBHOOKS)])
def receive_yookassa(
    sender: Annotated[Address, Depends(webhook_sender)], notification: Notification, state: CurrentState
) -> Received:
    """Store the announcement and have a worker ask YooKassa what is true, both or neither.

    200: stored, also for a repeat. 503: could not be stored, so YooKassa sends it again, for 24 h.
    """
    with state.database(Lane.WEBHOOKS).connection() as connection:
        with connection.cursor() as cursor:
            announcement = payments.record_announcement(
                cursor,
                provider_object_id=notification.object.id,
                event=notification.event,
                received_from=str(sender),
            )
        if announcement.needs_processing:
            # While one such message waits or runs, repeats add none.
            message = process_payment_event.message_with_options(
                args=(announcement.event_id,), dedupe_key=f"event-{announcement.event_id}"
            )
            send_in(connection, message)
    log.info(
        "webhook received",
        webhook_event=notification.event,
        event_id=announcement.event_id,
        times_received=announcement.times_received,
    )
    return Received()
