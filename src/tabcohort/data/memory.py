"""How much memory may be used, and how much a table would need."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tabcohort.errors import SettingsError

UNITS = {"": 1, "B": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_SIZE = re.compile(r"\s*(\d{1,18}(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", re.IGNORECASE)
MIN_BYTES = 1_000_000_000  # what the libraries take, and the parts of the rows of two members
BYTES_OF_LIBRARIES = 400_000_000
DEFAULT_SHARE = 0.5  # of the machine's memory
BYTES_PER_CELL = 60  # at the peak of a training in memory: a third to read (measured), the rest for trees (estimated)
ELSEWHERE = 16_000_000_000  # of systems that do not say how much memory they have
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def parse_bytes(text: str) -> int:
    """Return a number of bytes that is written such as "1.5GB", "500 MB" or "2GiB".

    Raises:
        SettingsError: it is not written so, or is less than training takes at least.

    Examples:
        >>> parse_bytes("1.5GB"), parse_bytes("1GiB")
        (1500000000, 1073741824)
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise SettingsError(f"the memory must be a number of bytes such as 1.5GB or 1500MB; it is {text!r}")
    number, unit, is_binary = match.groups()
    n_bytes = float(number) * (1024 ** "KMGT".index(unit.upper()) * 1024 if is_binary and unit else UNITS[unit.upper()])
    if n_bytes < MIN_BYTES:
        raise SettingsError(
            f"the memory must be at least {MIN_BYTES / 1e9:.0f}GB, which the libraries and the rows in memory take; "
            f"it is {text!r}"
        )
    return int(n_bytes)


def bytes_of_a_training(n_rows: int, n_columns: int) -> int:
    """Return how much memory a training in memory takes at its peak, about."""
    return BYTES_OF_LIBRARIES + BYTES_PER_CELL * n_rows * n_columns


def machine_bytes() -> int:
    """Return the memory that this machine, or the container that this runs in, has."""
    if not hasattr(os, "sysconf"):
        return ELSEWHERE
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _LIMITS:
        try:
            limit = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if limit.isdigit():
            total = min(total, int(limit))
    return total


def default_bytes() -> int:
    """Return how much memory may be used when nothing is said of it."""
    return int(DEFAULT_SHARE * machine_bytes())
