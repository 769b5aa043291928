"""A command in several processes, as `torchrun` starts them: the first one prints and writes, the others only train."""

from __future__ import annotations

import argparse

from tabcohort.cli import commands
from tabcohort.engines.ranks import launched
from tabcohort.errors import SettingsError


def share_command(options: argparse.Namespace) -> None:
    """Prepare the options of a command for this process; without `torchrun` they stay as they are.

    Raises:
        SettingsError: the command or one of its options is for a single process.
    """
    rank, size = launched()
    if size == 1:
        return
    if options.run not in (commands.fit, commands.tune):
        raise SettingsError(f"torchrun started {size} processes; only fit and tune share their work: run it without")
    for name, option in (("learning_curve", "--learning-curve"), ("audit", "--audit")):
        if getattr(options, name, None):
            raise SettingsError(f"{option} trains in one process; leave it out, or run the command without torchrun")
    if getattr(options, "store", None):
        raise SettingsError("--store is built by one process; leave it out, or run the command without torchrun")
    if options.table == "-":
        raise SettingsError("several processes cannot all read standard input; name a file that each of them can read")
    if rank > 0:
        options.quiet, options.live, options.record = True, None, None
