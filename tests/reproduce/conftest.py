"""Fixtures of the tests of the experiments."""

from __future__ import annotations

import pytest
from reproduce_helpers import silent_console
from rich.console import Console


@pytest.fixture
def messages() -> Console:
    """A console whose output a test can read from its `file`."""
    return silent_console()
