"""What the tests of /api/v1 share: rows as the broker leaves them, pages, the audit log."""

from __future__ import annotations

from tests.postgres.ops.scene import Scene


class Desk:
    """An operator's client beside the tables."""

    def __init__(self, api, connection):
        self.api = api
        self._cursor = connection.cursor()
        self.scene = Scene(self._cursor)

    def get(self, path, status=200, **query):
        answer = self.api.get(f"/api/v1{path}", params=query)
        assert answer.status_code == status, answer.text
        return answer.json() if status == 200 else answer.json()["error"]

    def post(self, path, status=200, **body):
        answer = self.api.post(f"/api/v1{path}", body, headers={"X-Operator": "ann"})
        assert answer.status_code == status, answer.text
        return answer.json() if status == 200 else answer.json()["error"]

    def pages(self, path, between=lambda: None, **query):
        """Return the items of all pages; between() happens after each."""
        items, cursor = [], None
        while True:
            page = self.get(path, **query, **({"cursor": cursor} if cursor else {}))
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return items
            between()

    def sql(self, statement, *parameters):
        self._cursor.execute(statement, parameters or None)
        return self._cursor.fetchall() if self._cursor.description else []

    def audit(self):
        """Return the changes, the oldest first, as action, count, operator, via and reason."""
        return self.sql("SELECT action, count, operator, via, reason FROM callboard.audit_log ORDER BY audit_id")
