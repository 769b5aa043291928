"""Epochs of members per second, side by side in batched operations and one by one, on the device of this machine.

    make gpu

For each network, members train on folds of one made-up table: in the batched engine all together, in the PyTorch engine
on the same device one after another, and in the compiled engine on one core one after another. The engines take turns,
and the best of several epochs of each counts. A ratio above 1 means that the batched engine is faster.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from markdown_table import as_markdown

from tabcohort import CohortSettings, Config, Table
from tabcohort.cohort.plan import make_plan
from tabcohort.engines.batched import Block, Stack
from tabcohort.engines.compiled.engine import CompiledEngine
from tabcohort.engines.protocol import Engine
from tabcohort.training.member import prepare_member
from tabcohort.training.module import TorchNetworkEngine

REPEATS = 3
NETWORKS = {
    "logistic": Config(model="logistic"),
    "mlp 64-32": Config(hidden=(64, 32)),
    "mlp 256-128": Config(hidden=(256, 128)),
    "residual 64-32": Config(model="residual", hidden=(64, 32)),
}


def made_up_table(n_rows: int, n_features: int = 30) -> Table:
    """Return a table of two classes that a few features separate in part."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, n_features))
    return Table.from_arrays(X, X[:, :3].sum(axis=1) + rng.normal(size=n_rows) > 0)


class Measured:
    """Members of one config in each engine.

    Args:
        table: the rows.
        config: of the members, with the device.
        n_members: number of members.
    """

    def __init__(self, table: Table, config: Config, n_members: int) -> None:
        plan = make_plan(table, config, CohortSettings(folds=8, seeds=math.ceil(n_members / 8)))
        (program,), stored = plan.programs, table.stored_rows()
        assert program is not None
        prepared = [
            prepare_member(table, plan.split(member), config, program, stored, member.number)
            for member in plan.members[:n_members]
        ]
        self.rate, block = config.learning_rate, Block(program, config)
        self.members = [block.make_engine(network, data) for network, data in prepared]
        self.stack = Stack(self.members, program, config, block.device)
        self.torch = [TorchNetworkEngine(network, data, config) for network, data in prepared]
        self.compiled = [CompiledEngine(network, data, config) for network, data in prepared]

    def rates(self) -> dict[str, float]:
        """Return the epochs of members per second of each engine."""
        runs: dict[str, Callable[[int], object]] = {
            "batched": lambda epoch: self.stack.run_epoch(dict.fromkeys(self.members, (epoch, self.rate))),
            "torch": lambda epoch: self._one_by_one(self.torch, epoch),
            "compiled": lambda epoch: self._one_by_one(self.compiled, epoch),
        }
        seconds = dict.fromkeys(runs, math.inf)
        for epoch in range(1, REPEATS + 2):
            for name, run in runs.items():
                began = time.perf_counter()
                run(epoch)
                if epoch > 1:  # the first one prepares what is used later
                    seconds[name] = min(seconds[name], time.perf_counter() - began)
        return {name: len(self.members) / taken for name, taken in seconds.items()}

    def _one_by_one(self, engines: Sequence[Engine], epoch: int) -> None:
        for engine in engines:
            engine.run_epoch(epoch, [self.rate] * epoch)  # the compiled engine does not run ahead


def main() -> None:
    """Measure all networks and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--members", type=int, nargs="+", default=[1, 8, 24])
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    options = parser.parse_args()
    table = made_up_table(options.rows)
    lines = []
    for name, network in NETWORKS.items():
        values = {**network.to_dict(), "engine": "batched", "device": options.device, "precision": options.precision}
        for n_members in options.members:
            measured = Measured(table, Config.from_dict(values), n_members)
            rates = measured.rates()
            batched = rates["batched"]
            ratios = (f"{batched / rates[other]:.2g}" for other in ("torch", "compiled"))
            lines.append([name, str(n_members), measured.members[0].device_name, f"{batched:,.1f}", *ratios])
            print(*lines[-1], file=sys.stderr)
    header = ("network", "members", "device", "batched, member epochs/s", "batched / torch", "batched / compiled")
    print(as_markdown(header, lines))


if __name__ == "__main__":
    main()
