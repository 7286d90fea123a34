"""The shop as YooKassa knows it: whose credentials these are, and what it can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shop:
    """YooKassa's answer to GET /me."""

    shop_id: str
    #: False while YooKassa has it disabled.
    is_enabled: bool
    #: In a test shop no money moves.
    is_test: bool
    #: Whether YooKassa sends receipts to the tax authority for it.
    has_fiscalization: bool
    methods: tuple[str, ...]

    @classmethod
    def from_reply(cls, reply: Mapping[str, Any]) -> Shop:
        """Read YooKassa's JSON. Raises: ValueError."""
        shop_id = reply.get("account_id")
        if not isinstance(shop_id, str | int) or isinstance(shop_id, bool) or not str(shop_id):
            raise ValueError(f"The shop in YooKassa's answer has no account_id, but {sorted(map(str, reply))[:10]}.")
        fiscalization = reply.get("fiscalization")
        is_fiscal = fiscalization.get("enabled") if isinstance(fiscalization, dict) else None
        methods = reply.get("payment_methods")
        return cls(
            shop_id=str(shop_id),
            is_enabled=reply.get("status", "enabled") == "enabled",
            is_test=reply.get("test") is True,
            has_fiscalization=(reply.get("fiscalization_enabled") if is_fiscal is None else is_fiscal) is True,
            methods=tuple(str(method)[:40] for method in methods) if isinstance(methods, list) else (),
        )

    def __str__(self) -> str:
        receipts = "fiscalisation is on" if self.has_fiscalization else "fiscalisation is off"
        return (
            f"shop {self.shop_id}, {'a test shop in which no money moves' if self.is_test else 'with real money'}; "
            f"{receipts}; takes {', '.join(self.methods) or 'no payment method that it names'}"
        )
