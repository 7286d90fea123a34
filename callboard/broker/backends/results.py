"""Results of messages in Postgres: written with the verdict, found until they expire."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from dramatiq.encoder import Encoder
from dramatiq.results import Missing, ResultBackend, ResultFailure, ResultMissing, ResultTimeout
from dramatiq.results.backend import DEFAULT_TIMEOUT
from dramatiq.results.result import wrap_exception, wrap_result

from callboard.broker.backends.database import BackendDatabase
from callboard.broker.backends.polling import look_until
from callboard.broker.ending.effects import ResultRow
from callboard.broker.ending.statements import write_results
from callboard.db import Pool, sql
from callboard.errors import InvalidMessage

#: Largest result that is stored, bytes.
RESULT_BYTES_MAX = 1024 * 1024


class PostgresResults(ResultBackend):
    """A result backend of Dramatiq's, for Results(backend=PostgresResults()).

    In a worker a result is written in the transaction of its message's verdict: a lost lease leaves none, and none
    is missing for a message that is done. Without url or pool it works on the broker's database. Other options are
    those of Dramatiq's ResultBackend.
    """

    def __init__(
        self,
        *,
        url: str | Callable[[], str] | None = None,
        pool: Pool | None = None,
        namespace: str = "dramatiq-results",
        encoder: Encoder | None = None,
        **options: Any,
    ) -> None:
        super().__init__(namespace=namespace, encoder=encoder, **options)
        self.attachment = BackendDatabase(type(self).__name__, url, pool)

    def get_result(self, message: Any, *, block: bool = False, timeout: int | None = None) -> Any:
        """Return the result of a message. timeout is in ms, 10 s by default; a waiting call holds no connection.

        Raises: ResultMissing (block=False), ResultTimeout, ResultFailure for a message that failed for good or was
        discarded.
        """
        parameters = {"key": self.build_message_key(message), "message_id": _uuid(message.message_id)}
        timeout_s = (DEFAULT_TIMEOUT if timeout is None else timeout) / 1000
        found = look_until(lambda: self._look(parameters), timeout_s) if block else self._look(parameters)
        if found is None:
            raise ResultTimeout(message) if block else ResultMissing(message)
        value, is_discarded = found
        if is_discarded:
            text = f"Message {message.message_id} was discarded by an operator."
            raise ResultFailure(text, "Cancelled", text)
        return self.unwrap_result(self.encoder.decode(bytes(value)))

    def _look(self, parameters: dict[str, Any]) -> tuple[Any, bool] | None:
        with self.attachment.statement() as cursor:
            cursor.execute(sql("results/find_of_message"), parameters)
            found: tuple[Any, bool] | None = cursor.fetchone()
        return found

    def store_result(self, message: Any, result: Any, ttl: int) -> None:
        """Store a result for ttl ms.

        Raises: InvalidMessage when it cannot be stored; that is then stored instead, so that nobody waits in vain.
        """
        try:
            value = self._encoded(message, wrap_result(result))
        except InvalidMessage as error:
            self.store_exception(message, error, ttl)
            raise
        self._keep(message, value, ttl)

    def store_exception(self, message: Any, exception: BaseException, ttl: int) -> None:
        """Store an exception, which get_result() raises as ResultFailure, for ttl ms."""
        self._keep(message, self._encoded(message, wrap_exception(exception)), ttl)

    def _encoded(self, message: Any, result: Any) -> bytes:
        name = f"Result of message {message.message_id} of {message.actor_name!r}"
        try:
            value = self.encoder.encode(result)
        except Exception as error:  # an encoder may be anybody's
            raise InvalidMessage(
                f"{name} cannot be encoded: {error}. Return numbers, strings, lists or dicts."
            ) from error
        if len(value) > RESULT_BYTES_MAX:
            raise InvalidMessage(
                f"{name} has {len(value)} bytes, the limit is {RESULT_BYTES_MAX}. Store the data and return its id."
            )
        return value

    def _keep(self, message: Any, value: bytes, ttl: int) -> None:
        row = ResultRow(self.build_message_key(message), message.message_id, value, float(ttl))
        delivery = self.attachment.finishing_delivery()
        if delivery is not None and delivery.message_id == message.message_id:
            delivery.results.append(row)
            return
        with self.attachment.statement() as cursor:
            write_results(cursor, [row])

    def _find(self, key: str) -> bytes | None:
        with self.attachment.statement() as cursor:
            cursor.execute(sql("results/find"), {"key": key})
            row = cursor.fetchone()
        return None if row is None else bytes(row[0])

    def _get(self, message_key: str) -> Any:
        value = self._find(message_key)
        return Missing if value is None else self.encoder.decode(value)


def _uuid(message_id: str) -> str | None:
    """Return the id as Postgres takes it; a message of another broker may have any text for one."""
    try:
        return str(uuid.UUID(message_id))
    except ValueError:
        return None
