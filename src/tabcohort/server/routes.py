"""The routes of an application, and the functions that handle them."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Handler = Callable[..., Awaitable[Response]]


class Routes:
    """Collects routes.

    A handler takes the path parameters by name, and the request if it has an argument of that name.

    Examples:
        >>> routes = Routes()
        >>> @routes.get("/models/{name}")
        ... async def model(name):
        ...     return Response(name)
        >>> [route.path for route in routes.table]
        ['/models/{name}']
    """

    def __init__(self) -> None:
        self.table: list[Route] = []

    def get(self, path: str) -> Callable[[Handler], Handler]:
        """Return a decorator that registers a handler of GET and HEAD requests."""
        return self._adding(path, "GET")

    def post(self, path: str) -> Callable[[Handler], Handler]:
        """Return a decorator that registers a handler of POST requests."""
        return self._adding(path, "POST")

    def _adding(self, path: str, method: str) -> Callable[[Handler], Handler]:
        def add(handler: Handler) -> Handler:
            takes_request = "request" in inspect.signature(handler).parameters

            async def endpoint(request: Request) -> Response:
                arguments: dict[str, Any] = dict(request.path_params)
                return await handler(**arguments, **({"request": request} if takes_request else {}))

            self.table.append(Route(path, endpoint, methods=[method]))
            return handler

        return add
