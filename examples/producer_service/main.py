"""A web service that sends mail in the background. It needs Callboard's base package and DATABASE_URL.

Run it with: uvicorn --app-dir examples/producer_service --port 8000 main:app
"""
# ruff: noqa: INP001 - a script that is read and copied, not a package

from __future__ import annotations

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

from actors import send_email
from callboard.errors import BrokerUnavailable

app = FastAPI(title="Shop")


class Account(BaseModel):
    """What a new customer tells us."""

    email: str = Field(max_length=254)
    name: str = Field(min_length=1, max_length=100)


@app.post("/accounts", status_code=202)
def open_account(account: Account) -> dict[str, str]:
    """Queue the welcome mail and answer at once; a second click sends no second mail while the first one waits."""
    try:
        message = send_email.send_with_options(
            kwargs={"to": account.email, "template": "welcome", "context": {"name": account.name}},
            dedupe_key=f"welcome-{account.email}",
        )
    except BrokerUnavailable as error:
        # Nothing was stored, or sending it again is safe; the database is away, and the customer may try again.
        raise HTTPException(503, "Please try again in a moment.", headers={"Retry-After": "5"}) from error
    return {"message_id": message.message_id}
