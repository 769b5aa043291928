"""What is printed: results to standard output, which must arrive, and messages to standard error, which may not."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tabcohort.errors import TabcohortError, printable

if TYPE_CHECKING:
    from rich.console import Console


class ClosedPipeError(Exception):
    """The reader of standard output has gone, as `| head` does; there is nothing more to do."""


class _Wrapped:
    """A stream of which a part is replaced.

    Args:
        stream: the stream itself.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Results(_Wrapped):
    """Standard output whose every failure is an error of ours."""

    def write(self, text: str) -> int:
        """Write all of a text.

        Raises:
            TabcohortError: it cannot be written, as on a full disk.
            ClosedPipeError: nobody reads it.
        """
        with self._checked():
            buffer = getattr(self._stream, "buffer", None)
            if isinstance(buffer, io.RawIOBase):  # with PYTHONUNBUFFERED, and it may write a part and say nothing
                rest = text.encode(self._stream.encoding, "backslashreplace")
                while rest:
                    rest = rest[buffer.write(rest) or 0 :]
                return len(text)
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self._stream.encoding
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Write what waits in the buffer.

        Raises:
            TabcohortError, ClosedPipeError: as in `write`.
        """
        with self._checked():
            self._stream.flush()

    @contextlib.contextmanager
    def _checked(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            _discard_the_rest(self._stream)
            if isinstance(error, BrokenPipeError):
                raise ClosedPipeError from None
            raise TabcohortError(f"standard output cannot be written: {error.strerror or error}") from None


class Messages(_Wrapped):
    """Standard error as far as it can be written: no result depends on it, and training must not end for it."""

    def write(self, text: str) -> int:
        """Write a text, if that is possible."""
        try:
            self._stream.write(text)
        except OSError:
            _discard_the_rest(self._stream)
        return len(text)

    def flush(self) -> None:
        """Write what waits in the buffer, if that is possible."""
        try:
            self._stream.flush()
        except OSError:
            _discard_the_rest(self._stream)


def _discard_the_rest(stream: Any) -> None:
    """Let a stream lead nowhere, or Python would try once more to write to it when it exits."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def checked_streams() -> Iterator[None]:
    """Make standard output `Results` and standard error `Messages` for the time of a command."""
    streams = sys.stdout, sys.stderr
    with contextlib.ExitStack() as stack:
        out, err = (stream or stack.enter_context(open(os.devnull, "w")) for stream in streams)
        sys.stdout, sys.stderr = Results(out), Messages(err)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = streams


ReportError = Callable[[str], None]


def report_error(message: str) -> None:
    """Print an error to standard error, as one line."""
    print(f"tabcohort: {printable(message)}", file=sys.stderr)


def report_error_as_json(message: str) -> None:
    """Print an error to standard output as a JSON document, or as a line where that cannot be written."""
    try:
        print_json({"error": message})
        sys.stdout.flush()
    except (TabcohortError, ClosedPipeError):
        report_error(message)


def print_json(document: Any) -> None:
    """Print a document of plain JSON values."""
    print(json.dumps(document, allow_nan=False, indent=1))


def consoles(is_quiet: bool = False) -> tuple[Console, Console]:
    """Return the consoles of standard output, for results, and of standard error, for messages."""
    from rich.console import Console

    messages = Console(stderr=True, highlight=False, soft_wrap=True, quiet=is_quiet)
    return Console(highlight=False, soft_wrap=True), messages


def print_lines(console: Console, *lines: str) -> None:
    """Print each line as it is, with its control characters escaped."""
    for line in lines:
        console.print(printable(line), markup=False)


def without_histories(document: dict[str, Any], is_asked_for: bool) -> dict[str, Any]:
    """Return what is known of a model without what happened in each epoch, which is long, unless that is asked for."""
    if is_asked_for:
        return document
    report = document["report"]
    members = [{name: value for name, value in member.items() if name != "history"} for member in report["members"]]
    return {**document, "report": {**report, "members": members}}
