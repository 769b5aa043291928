"""How a server is run: where it listens, who may ask, and how much."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from pathlib import Path

from tabcohort.errors import SettingsError

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
MULTIPROCESS_DIR = "PROMETHEUS_MULTIPROC_DIR"  # names the folder in which processes share their counts
MIN_KEY_LENGTH = 16  # characters
SYNC_POLICIES = ("always", "second", "never")


@dataclass(frozen=True)
class ServerOptions:
    """How a server is run.

    Args:
        host: the address that it listens at.
        port: 0 takes one that is free.
        keys: of which a request must give one; no key is needed where there are none.
        allow_unauthenticated: whether an address other than this machine's may be listened at without keys.
        allowed_hosts: names by which requests may address the server, beside those of this machine and `host`.
        n_workers: processes that answer.
        max_body_bytes: of a request, also once it is decompressed.
        max_records: of a JSON request.
        max_rows: of a table.
        max_explained: records that one request may have explained.
        max_queued_records: records that may wait for a forward pass.
        max_in_flight: requests that may be answered at a time.
        max_in_flight_bytes: of their bodies together, decompressed, in one process.
        body_timeout_seconds: in which a request must arrive.
        timeout_seconds: limit for one unit of work in a thread.
        reload_interval_seconds: how often the files of the models are looked at; 0 for never.

    Raises:
        SettingsError: a value is out of range, or anyone could ask from elsewhere without having said so.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    keys: tuple[str, ...] = field(default=(), repr=False)
    allow_unauthenticated: bool = False
    allowed_hosts: tuple[str, ...] = ()
    n_workers: int = 1
    max_body_bytes: int = 64 * 2**20
    max_records: int = 10_000
    max_rows: int = 1_000_000
    max_explained: int = 20
    max_queued_records: int = 2_048
    max_in_flight: int = 512
    max_in_flight_bytes: int = 512 * 2**20
    body_timeout_seconds: float = 30.0
    timeout_seconds: float = 300.0
    reload_interval_seconds: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise SettingsError(f"the port must be 0 to 65535; it is {self.port}")
        if self.n_workers < 1:
            raise SettingsError(f"there must be at least 1 worker; it is {self.n_workers}")
        if not self.is_local and not self.keys and not self.allow_unauthenticated:
            raise SettingsError(
                f"{self.host!r} can be reached from other machines: give a key with --api-key-file FILE, or say "
                "--no-auth if everyone who reaches it may use it"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOCAL_HOSTS

    def accepts_key(self, key: bytes) -> bool:
        """Return whether a key is one of those that are asked for; the time does not tell how much of it is right."""
        known = [hmac.compare_digest(key, own.encode()) for own in self.keys]
        return any(known)


def read_keys(path: str | Path) -> tuple[str, ...]:
    """Return the keys of a file, one in each line; blank lines and those that begin with # are none.

    Raises:
        SettingsError: it cannot be read, or a key is short.
    """
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"{str(path)!r} cannot be read: {reason}") from None
    keys = tuple(line for line in lines if line and not line.startswith("#"))
    if not keys:
        raise SettingsError(f"{str(path)!r} holds no key; write one into a line of it")
    if any(len(key) < MIN_KEY_LENGTH for key in keys):
        raise SettingsError(f"{str(path)!r} holds a key of fewer than {MIN_KEY_LENGTH} characters; make a longer one")
    return keys
