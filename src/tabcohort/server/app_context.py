"""What the routes of an application share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, TypeVar

from tabcohort.server.inference_service import InferenceService
from tabcohort.server.middleware import RequestMiddleware
from tabcohort.server.problems import Problem

N_THREADS = 2  # for tables, explanations and reports
Result = TypeVar("Result")


class AppContext:
    """What the routes of one application share.

    Args:
        inference: the models, and what answers for them.
        medical_service: the id of the service for medical records, if there is one.
    """

    def __init__(self, inference: InferenceService, medical_service: str | None = None) -> None:
        self.inference, self.options, self.medical_service = inference, inference.options, medical_service
        self.middleware: RequestMiddleware | None = None  # set when the application is made
        self.threads = ThreadPoolExecutor(N_THREADS, thread_name_prefix="tabcohort")

    async def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return what a function gives that takes a while.

        Raises:
            Problem: 503, it takes too long.
        """
        work = asyncio.get_running_loop().run_in_executor(self.threads, function, *arguments)
        try:
            async with asyncio.timeout(self.options.timeout_seconds):
                return await work
        except TimeoutError:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"the answer takes more than {self.options.timeout_seconds:g} seconds; ask for less at once",
                headers={"retry-after": "60"},
            ) from None
