"""The seam between the training loop and what runs the epochs: one method, with plain data on both sides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tabcohort.engines.batches import BatchPlan, EpochBlock
from tabcohort.engines.layers import LayerArrays
from tabcohort.engines.reading import Reading
from tabcohort.engines.validation import EpochResult, ValidationSet
from tabcohort.errors import TrainingError
from tabcohort.types import IntArray

State = dict[str, NDArray[np.generic]]


class EpochPart(NamedTuple):
    """Some steps of an epoch, or of several epochs, and the rows that they train on.

    Args:
        steps: which steps of each epoch, counted from 0.
        reading: has the rows.
        train: row numbers in the reading, `(n,)`.
        soft_targets: of these rows, `(n, n_classes)`, float32.
        orders: what the steps take one after another, as places in `train`, `(n_epochs, n_rows of the steps)`.
    """

    steps: slice
    reading: Reading
    train: IntArray
    soft_targets: NDArray[np.float32]
    orders: IntArray


@dataclass(frozen=True)
class MemberData:
    """What a member's engine sees of the table: rows that it shares with other members, and how it reads them.

    Args:
        reading: the rows, and what makes columns of them.
        train: row numbers of the training rows, `(n_train,)`.
        soft_targets: the weight of each class in each training row's target, `(n_train, n_classes)`, float32: the row's
            weight on its class, or spread by label smoothing. Losses and mixup are linear in it.
        batches: how the training rows are divided into batches.
        validation: the validation rows.

    Raises:
        TrainingError: the batches are of another number of rows.
    """

    reading: Reading
    train: IntArray
    soft_targets: NDArray[np.float32]
    batches: BatchPlan
    validation: ValidationSet

    def __post_init__(self) -> None:
        if self.batches.n_rows != len(self.train):  # the kernels check no bounds
            raise TrainingError(f"the batches are of {self.batches.n_rows} rows, and {len(self.train)} train")

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self.soft_targets.shape[1]

    @property
    def is_in_parts(self) -> bool:
        """Whether an epoch may have several parts, of which only one is in memory; epochs run one by one, then."""
        return False

    def parts(self, block: EpochBlock) -> Iterator[EpochPart]:
        """Yield what some epochs train on, part after part."""
        yield EpochPart(slice(0, len(block.bounds) - 1), self.reading, self.train, self.soft_targets, block.orders)

    def validation_rows(self) -> tuple[Reading, IntArray]:
        """Return what has the validation rows, and their row numbers there, `(n_val,)`."""
        return self.reading, self.validation.rows


class Engine(Protocol):
    """Runs the epochs of one member.

    Args:
        name, device_name: what runs them, and where, for people.
    """

    name: str
    device_name: str

    def run_epoch(self, epoch: int, rates: Sequence[float]) -> EpochResult:
        """Run one epoch, and pass the validation rows through the network at its end.

        Args:
            epoch: counted from 1; one more than the epoch before, or than that of the state that was restored.
            rates: the learning rate of every epoch as far as it is known now; `rates[epoch - 1]` is this epoch's. An
                engine may run the next epochs ahead at these rates; if they turn out different, it goes back.
        """
        ...

    def snapshot(self) -> State:
        """Return all that training changes (parameters, buffers, the optimizer's moments) after the last epoch.

        Nothing writes to these arrays later.
        """
        ...

    def restore(self, state: State) -> None:
        """Continue from a snapshot."""
        ...

    def layer_arrays(self, epoch: int) -> list[LayerArrays]:
        """Return each parameter array with its average gradients after the last epoch, whose number is `epoch`."""
        ...

    def release(self) -> None:
        """Write parameters and buffers back into the network that was given."""
        ...


def check_shape_of_logits(shape: tuple[int, ...], n_classes: int) -> None:
    """Raise `TrainingError` unless the logits of two rows are `(2, n_classes)`, or `(2, 1)` for two classes."""
    allowed = [(2, n_classes)] + ([(2, 1)] if n_classes == 2 else [])
    if shape not in allowed:
        wanted = " or ".join(f"(n, {width})" for _, width in allowed)
        raise TrainingError(
            f"the module must return logits of shape {wanted} for {n_classes} classes; for 2 rows it returned {shape}"
        )
