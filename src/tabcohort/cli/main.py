"""The entry point: run one command, catch one error and print its message."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from tabcohort.cli.commands import INTERRUPTED
from tabcohort.cli.parser import USER_ERROR, make_parser
from tabcohort.errors import TabcohortError, TabcohortWarning


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0, 2 for a user error, 130 for Ctrl-C."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.run is None:
        parser.print_help(sys.stderr)
        return USER_ERROR
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        return int(options.run(options))
    except TabcohortError as error:
        print(f"tabcohort: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("tabcohort: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, `| head` for example
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _show_warning(message: Warning | str, category: type[Warning], *place: Any) -> None:
    name = "note" if issubclass(category, TabcohortWarning) else category.__name__
    print(f"{name}: {message}", file=sys.stderr)
