"""One network trained by several processes, on one machine or many: what they send each other.

Each process has the whole table and computes its share of the rows of every step. A step's gradient is one flat vector,
which is summed over all processes after each of them has divided its part by the number of rows of the whole step. So
it is the mean over all rows, also in a short last step, where shares differ or are empty; averaging the processes'
means, as `DistributedDataParallel` does, would be wrong there.

PyTorch promises that a sum has the same bits in every process. So parameters, losses and all that follows from them,
such as when to stop, are the same everywhere without another word.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.distributed as dist
import torch.nn as nn
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tabcohort.engines.ranks import AnyState, Ranks
from tabcohort.errors import EngineError, TrainingError, first_line


class ConnectedRanks(Ranks):
    """The processes of a training that `torchrun` started; see `Ranks`.

    Args:
        rank: number of this process, counted from 0.
        size: number of processes.

    Raises:
        EngineError: they cannot be connected.
    """

    def __init__(self, rank: int, size: int) -> None:
        super().__init__(rank, size)
        if not (dist.is_available() and dist.is_gloo_available()):
            raise EngineError(
                f"{size} processes need PyTorch's backend gloo, and this PyTorch is built without it: train with one "
                "process, or install another build of PyTorch"
            )
        backend = "gloo"
        if torch.cuda.is_available():  # not measured: no GPU was available
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
            backend = "cpu:gloo,cuda:nccl"
        if not dist.is_initialized():
            try:
                dist.init_process_group(backend, rank=rank, world_size=size)
            except (RuntimeError, ValueError) as error:
                raise EngineError(f"the {size} processes cannot be connected: {first_line(error)}") from None
            atexit.register(_disconnect)

    def add_up(self, tensor: Tensor) -> None:
        """Replace a tensor by the sum of those of all processes."""
        with _exchanging():
            dist.all_reduce(tensor)

    def gather_rows(self, rows: Tensor, n_rows: int) -> Tensor:
        """Return all rows: each process adds its share to zeros."""
        whole = rows.new_zeros((n_rows, *rows.shape[1:]))
        whole[self.share(n_rows)] = rows
        self.add_up(whole)
        return whole

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by those of the first process."""
        with _exchanging(), torch.no_grad():
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def bytes_of_first(self, content: bytes) -> bytes:
        """Return what the first process gives, as a tensor: nothing is pickled."""
        size = torch.tensor([len(content)])
        self.copy_from_first([size])
        sent = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)
        buffer = sent if self.rank == 0 else torch.empty(int(size), dtype=torch.uint8)
        if len(buffer):
            self.copy_from_first([buffer])
        return buffer.numpy().tobytes()

    def agreed(self, callback: Callable[[AnyState], str | None]) -> Callable[[AnyState], str | None]:
        """Return a callback whose reason is that of the first process."""

        def agree(state: AnyState) -> str | None:
            return self.bytes_of_first((callback(state) or "").encode()).decode() or None

        return agree

    def check_same(self, digests: Mapping[str, str]) -> None:
        """Raise `TrainingError` unless all processes have the same digests."""
        own = torch.tensor([list(bytes.fromhex(digest)) for digest in digests.values()], dtype=torch.uint8)
        gathered = [torch.empty_like(own) for _ in range(self.size)]
        with _exchanging():
            dist.all_gather(gathered, own)
        for rank, other in enumerate(gathered):
            for name, is_same in zip(digests, (other == gathered[0]).all(dim=1).tolist(), strict=True):
                if not is_same:
                    raise TrainingError(
                        f"all {self.size} processes must train the same network on the same rows; {name} of process "
                        f"{rank} differs from that of process 0: give all of them the same table, config and module"
                    )

    @contextmanager
    def joint_batch_norm(self, module: nn.Module) -> Iterator[None]:
        """Let batch normalisation use the rows of all processes while this context lasts."""
        layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
        for layer in layers:
            layer.forward = _joint_forward(layer)  # type: ignore[method-assign, assignment]
        try:
            with _exchanging():
                yield
        finally:
            for layer in layers:
                del layer.forward


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is the sum of theirs, as each has a part of the loss."""

    @staticmethod
    def forward(ctx: object, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def _joint_forward(layer: _BatchNorm) -> Callable[[Tensor], Tensor]:
    return lambda x: _joint_batch_norm(layer, x) if layer.training else type(layer).forward(layer, x)


def _joint_batch_norm(layer: _BatchNorm, x: Tensor) -> Tensor:
    """Normalise by the mean and the variance of the rows of all processes, and pass gradients to all of these rows.

    PyTorch's SyncBatchNorm computes the same on GPUs only. Like it, the variance is computed around the mean, not as a
    difference of squares, which would cancel in float32.
    """
    rest = [axis for axis in range(x.ndim) if axis != 1]  # all but the channels
    shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
    count = x.new_tensor([float(x.numel() // x.shape[1])])
    total = _sum(torch.cat([x.sum(dim=rest), count]))
    n_rows = total[-1].detach()
    mean = total[:-1] / n_rows
    centered = x - mean.view(shape)
    variance = _sum(centered.square().sum(dim=rest)) / n_rows
    if layer.running_mean is not None and layer.running_var is not None:
        _update_running(layer, mean.detach(), variance.detach() * n_rows / (n_rows - 1).clamp_min(1))
    normalized = centered * torch.rsqrt(variance + layer.eps).view(shape)
    if not layer.affine:
        return normalized
    return normalized * layer.weight.view(shape) + layer.bias.view(shape)


def _sum(tensor: Tensor) -> Tensor:
    return _Sum.apply(tensor)  # type: ignore[no-untyped-call]


def _update_running(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    momentum = layer.momentum if layer.momentum is not None else 1 / float(layer.num_batches_tracked)
    layer.running_mean.lerp_(mean, momentum)
    layer.running_var.lerp_(variance, momentum)


@contextmanager
def _exchanging() -> Iterator[None]:
    """Turn the failure of a connection into an error of ours."""
    try:
        yield
    except dist.DistError as error:
        raise TrainingError(f"a process of this training ended or does not answer: {first_line(error)}") from None
    except RuntimeError as error:
        if "gloo" not in str(error):
            raise
        raise TrainingError(f"a process of this training ended or does not answer: {first_line(error)}") from None


def _disconnect() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
