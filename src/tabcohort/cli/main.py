"""The entry point: run one command, catch one error and print its message."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from tabcohort.cli import files
from tabcohort.cli.arguments import USER_ERROR
from tabcohort.cli.commands import INTERRUPTED
from tabcohort.cli.output import ClosedPipeError, ReportError, checked_streams, report_error, report_error_as_json
from tabcohort.cli.parser import make_parser
from tabcohort.cli.share_command import share_command
from tabcohort.cohort.interrupts import HANDLERS, interrupted_by_sigterm
from tabcohort.errors import ModelFileError, TabcohortError, TabcohortWarning, printable


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0, 2 for a user error, 130 for Ctrl-C and SIGTERM."""
    arguments = sys.argv[1:] if arguments is None else arguments
    report = report_error_as_json if "--json" in arguments else report_error
    with checked_streams(), interrupted_by_sigterm(), files.reserved:
        try:
            try:
                return _run(arguments, report)
            finally:
                sys.stdout.flush()
        except TabcohortError as error:
            report(str(error))
            return USER_ERROR
        except KeyboardInterrupt as interrupt:
            report_error(str(interrupt) or "interrupted")
            return INTERRUPTED
        except ClosedPipeError:
            return 0


def program() -> NoReturn:
    """Run one command, and end this process with its exit status.

    Raises:
        SystemExit: the command was not interrupted.
    """
    status: int | None = None
    is_ending = False
    while not is_ending:
        try:
            status = main() if status is None else status
            for number in HANDLERS:
                signal.signal(number, signal.SIG_IGN)
            is_ending = True
        except KeyboardInterrupt:  # pressed again while `main` was about to return, or right after
            status = INTERRUPTED if status is None else status
    if status == INTERRUPTED:  # threads may still run native code, under which Python must not be taken down
        os._exit(status)
    sys.exit(status)


def _run(arguments: Sequence[str], report: ReportError) -> int:
    parser = make_parser(report)
    options = parser.parse_args(arguments)
    if options.run is None:
        parser.print_help(sys.stderr)
        return USER_ERROR
    share_command(options)
    warnings.showwarning = _hide_warning if options.quiet else _show_warning  # type: ignore[assignment]
    try:
        return int(options.run(options))
    except ModelFileError as error:
        from tabcohort.container import is_container

        if is_container(getattr(options, "table", None) or ""):
            raise ModelFileError(f"{error}; the model comes before the table") from None
        raise


def _show_warning(message: Warning | str, category: type[Warning], *place: Any) -> None:
    name = "note" if issubclass(category, TabcohortWarning) else category.__name__
    print(f"{name}: {printable(str(message))}", file=sys.stderr)


def _hide_warning(*warning: Any) -> None:
    """Show nothing."""
