"""A message that is sent exactly if the transaction commits, with SQLAlchemy.

Run it with: python examples/transactional_send/with_sqlalchemy.py EMAIL NAME
"""
# ruff: noqa: INP001 - a script that is read and copied, not a package

from __future__ import annotations

import os
import sys

from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from actors import send_email
from callboard import send_in


class Base(DeclarativeBase):
    """The models of the service."""


class Account(Base):
    """A customer's account."""

    __tablename__ = "accounts"

    email: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    state: Mapped[str] = mapped_column(default="new")


def open_account(session: Session, email: str, name: str) -> None:
    """Store an account and its welcome mail in the session's transaction: both or neither."""
    session.add(Account(email=email, name=name))
    send_in(session, send_email.message(to=email, template="welcome", context={"name": name}))


def engine_of(url: str) -> Engine:
    """Return an engine with psycopg2 as its driver; SQLAlchemy from 2.1 on takes psycopg 3 for a plain postgresql://."""
    return create_engine(make_url(url).set(drivername="postgresql+psycopg2"))


if __name__ == "__main__":
    engine = engine_of(os.environ["DATABASE_URL"])
    with Session(engine) as session, session.begin():
        open_account(session, *sys.argv[1:3])
