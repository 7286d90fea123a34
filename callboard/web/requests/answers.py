"""How every answer of the API is written as JSON: by one class, so that no address lets a stranger's text through."""

from __future__ import annotations

import json
from typing import Any

from fastapi.responses import JSONResponse

from callboard.plain_text import plain_json


class JsonAnswer(JSONResponse):
    r"""JSON that may be read in a terminal: what would steer one stands as \uXXXX, which means the same."""

    def render(self, content: Any) -> bytes:
        document = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return plain_json(document).encode()
