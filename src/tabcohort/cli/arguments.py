"""How arguments are read: errors in one line that offer the nearest name, and each option once."""

from __future__ import annotations

import argparse
import math
from dataclasses import fields
from typing import Any, NoReturn

from rich_argparse import RichHelpFormatter

from tabcohort.cli.output import ReportError, report_error
from tabcohort.errors import nearest

USER_ERROR = 2


class _Once(argparse.Action):
    """Keeps an option's value, and refuses a second one, which would silently replace the first."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        """Keep the value.

        Raises:
            argparse.ArgumentError: the option was given before.
        """
        given = namespace.__dict__.setdefault("given", set())
        if option and self.dest in given:
            raise argparse.ArgumentError(self, "it may be given once only")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line with the nearest name, and that takes each option once, in full."""

    def __init__(self, *arguments: Any, report: ReportError = report_error, **keywords: Any) -> None:
        super().__init__(*arguments, **{"formatter_class": RichHelpFormatter, "allow_abbrev": False, **keywords})
        self.report = report
        self.register("action", None, _Once)
        self.register("action", "store", _Once)

    def error(self, message: str) -> NoReturn:
        """Print one line and exit."""
        self.report(f"{message}; see {self.prog} --help")
        self.exit(USER_ERROR)

    def parse_known_args(self, *arguments: Any, **keywords: Any) -> Any:
        """Return the options, if all arguments are known: a command knows best what it has."""
        options, unknown = super().parse_known_args(*arguments, **keywords)
        name = next((argument.partition("=")[0] for argument in unknown if argument.startswith("-")), None)
        if name is not None:
            from tabcohort.settings import Config

            setting = name.lstrip("-").replace("-", "_")
            if setting in {field.name for field in fields(Config)}:
                self.error(
                    f"there is no option {name!r}: write {setting} = ... into a file, and name it with --settings"
                )
            self.error(f"there is no option {name!r}{nearest(name, self._option_string_actions)}")
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        choices = [] if action.choices is None else list(action.choices)
        if choices and value not in choices:
            names = f"{nearest(str(value), map(str, choices))}; choose from {', '.join(map(str, choices))}"
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}{names}")


def seconds(text: str) -> float:
    """Return a time limit.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"it must be a number of seconds above 0, and is {text!r}")
    return number
