"""What can go wrong with a payment, and whether trying again may help."""

from __future__ import annotations

from callboard.errors import Conflict, PermanentError, TemporaryError


class YooKassaUnavailable(TemporaryError):
    """Nobody knows what YooKassa did: repeat the same request with the same Idempotence-Key."""


class ForeignAnswer(YooKassaUnavailable):
    """A well-formed answer to something else than was asked: another payment, another amount, another shop."""


class YooKassaRateLimited(TemporaryError):
    """YooKassa did not look at the request because there were too many; wait before the next one."""


class PaymentRejected(PermanentError):
    """YooKassa refused the request; the same request will be refused again."""

    def __init__(self, text: str, *, status: int, code: str = "", parameter: str = "", description: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.parameter = parameter
        self.description = description

    @property
    def proves_no_payment(self) -> bool:
        """Say whether this refusal of a creation proves that no payment came of its key.

        A refused Idempotence-Key proves nothing: its first use may have made a payment.
        """
        return self.status == 400 and self.parameter.lower() != "idempotence-key"  # noqa: PLR2004 - HTTP's own name


class CredentialsRejected(TemporaryError):
    """YooKassa refused the shop's id or key, or what they are allowed to do.

    Temporary, because nothing is wrong with the payment: somebody corrects the settings or the shop, and until then
    everything waits.
    """

    def __init__(self, text: str, *, status: int, code: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(text, retry_after_s=retry_after_s)
        self.status = status
        self.code = code


class PaymentNotFound(PaymentRejected):
    """YooKassa has no such payment."""


class RepeatWindowPassed(PermanentError):
    """The Idempotence-Key is too old to be repeated: YooKassa may take it for a new payment."""


class KeyReused(Conflict):
    """An Idempotency-Key came again with another body."""


class KeyInFlight(Conflict):
    """An Idempotency-Key came again while its first request is still being answered."""

    def __init__(self, text: str, *, retry_after_s: int) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s
