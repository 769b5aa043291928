"""The addresses of an application, each with the function that answers for it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Handler = Callable[..., Awaitable[Response]]


class Addresses:
    """Collects routes.

    A function that answers takes the parts of the address that are in braces, and the request where it has an argument
    of that name.

    Example:
        >>> addresses = Addresses()
        >>> @addresses.get("/models/{name}")
        ... async def model(name):
        ...     return Response(name)
        >>> [route.path for route in addresses.routes]
        ['/models/{name}']
    """

    def __init__(self) -> None:
        self.routes: list[Route] = []

    def get(self, path: str) -> Callable[[Handler], Handler]:
        """Return what lets a function answer for GET, and HEAD, at an address."""
        return self._adding(path, "GET")

    def post(self, path: str) -> Callable[[Handler], Handler]:
        """Return what lets a function answer for POST at an address."""
        return self._adding(path, "POST")

    def _adding(self, path: str, method: str) -> Callable[[Handler], Handler]:
        def add(handler: Handler) -> Handler:
            takes_request = "request" in inspect.signature(handler).parameters

            async def endpoint(request: Request) -> Response:
                arguments: dict[str, Any] = dict(request.path_params)
                return await handler(**arguments, **({"request": request} if takes_request else {}))

            self.routes.append(Route(path, endpoint, methods=[method]))
            return handler

        return add
