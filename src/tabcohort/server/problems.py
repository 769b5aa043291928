"""What can be wrong with a request, and the problem documents of RFC 9457 that say so."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

PROBLEM = "application/problem+json"


class Problem(Exception):  # noqa: N818  the word of RFC 9457
    """A request that is not answered as it asks.

    Args:
        status: of HTTP.
        detail: a sentence on what must be changed. It names columns, and never holds a cell.
        errors: more about each problem, as plain JSON values, such as the record and the column.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors, self.headers = status, detail, tuple(errors), dict(headers or {})

    def to_dict(self) -> dict[str, Any]:
        """Return the problem document."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        return {**document, "errors": [dict(error) for error in self.errors]} if self.errors else document

    def response(self) -> Response:
        """Return the answer that says it."""
        text = json.dumps(self.to_dict(), ensure_ascii=False)
        return Response(text.encode("utf-8", "backslashreplace"), self.status, self.headers, PROBLEM)


def overloaded(detail: str, seconds: int = 1) -> Problem:
    """Return the problem of a server that has too much to do; the client is to come again after some seconds."""
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"retry-after": str(seconds)})
