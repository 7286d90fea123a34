"""What a statement does to the tables, as EXPLAIN tells it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Node = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """A plan that was run."""

    root: Node

    @property
    def buffers(self) -> int:
        """Pages touched, in memory or on disk."""
        return _buffers(self.root)

    def indexes(self, table: str) -> set[str]:
        """Return the names of the table's indexes that were used."""
        bitmaps = {node["Index Name"] for node in _nodes(self.root) if node["Node Type"] == "Bitmap Index Scan"}
        return bitmaps | {node["Index Name"] for node in self._scans(table) if "Index Name" in node}

    def seq_scans(self, table: str) -> list[Node]:
        return [node for node in self._scans(table) if node["Node Type"] == "Seq Scan"]

    def rows_removed(self, table: str) -> int:
        """Return how many rows of the table were read and found not to be meant."""
        return sum(node.get("Rows Removed by Filter", 0) * node["Actual Loops"] for node in self._scans(table))

    def __str__(self) -> str:
        scans = [node for node in _nodes(self.root) if "Relation Name" in node]
        texts = [f"{n['Node Type']} {n.get('Index Name', n['Relation Name'])}: {_buffers(n)}" for n in scans]
        return f"{self.buffers} buffers ({', '.join(texts)})"

    def _scans(self, table: str) -> Iterator[Node]:
        return (n for n in _nodes(self.root) if n.get("Relation Name") == table and "Scan" in n["Node Type"])


def _buffers(node: Node) -> int:
    return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)


def explain(connection: Any, statement: str, parameters: Mapping[str, Any]) -> Plan:
    """Run a statement, undo it, and return its plan."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN" if connection.autocommit and not _is_open(connection) else "SAVEPOINT explained")
        is_nested = cursor.statusmessage == "SAVEPOINT"
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters)
        root = cursor.fetchone()[0][0]["Plan"]
        cursor.execute("ROLLBACK TO explained" if is_nested else "ROLLBACK")
    return Plan(root)


def _is_open(connection: Any) -> bool:
    return bool(connection.info.transaction_status)
