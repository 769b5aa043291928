"""What takes a while runs in a thread, and is not waited for without end."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tabcohort.server.app_context import AppContext
from tabcohort.server.inference_service import InferenceService
from tabcohort.server.model_store import ModelStore
from tabcohort.server.options import ServerOptions
from tabcohort.server.problems import Problem
from tabcohort.server.service_metrics import ServiceMetrics


def test_a_function_runs_in_a_thread_for_as_long_as_it_may(files: Path) -> None:
    store = ModelStore({"two": files / "two.tabcohort"})
    context = AppContext(InferenceService(store, ServerOptions(timeout_seconds=0.2), ServiceMetrics()))
    assert asyncio.run(context.in_thread(divmod, 7, 3)) == (2, 1)
    with pytest.raises(Problem, match=r"the answer takes more than 0\.2 seconds; ask for less at once") as caught:
        asyncio.run(context.in_thread(time.sleep, 0.5))
    assert (caught.value.status, caught.value.headers["retry-after"]) == (503, "60")
