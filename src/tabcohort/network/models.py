"""The networks as plain PyTorch modules: rows in, logits out.

Every module here maps a float tensor of shape `(n_rows, n_features)` to logits of shape `(n_rows, n_outputs)`:
one output, the logit of the second class, when there are two classes; one output per class when there are more.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping

import torch
import torch.nn as nn
from torch import Tensor

from tabcohort.data.encoder import Statistics, encoding_of
from tabcohort.errors import TrainingError
from tabcohort.network.ops import OPS
from tabcohort.randomness import Purpose, make_rng
from tabcohort.settings import Config


class Standardize(nn.Module):
    """Center and scale each feature: `(x - center) * scale`, computed in float64 and returned in the module's dtype.

    A missing cell (NaN) becomes 0, the mean. As the first layer of an `nn.Sequential` it is fitted on the training
    rows alone.

    **Shape**: `(n_rows, n_features)` to the same.

    Example:
        >>> nn.Sequential(Standardize(4), nn.Linear(4, 3))(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """

    center: Tensor
    scale: Tensor
    like: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(n_features, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(n_features, dtype=torch.float64))
        self.register_buffer("like", torch.empty(0), persistent=False)  # follows the module to float64 and back

    def set_statistics(self, statistics: Statistics) -> None:
        """Take the statistics of the training rows.

        Raises:
            TrainingError: they have another number of features.
        """
        if self.center.shape != statistics.center.shape:
            raise TrainingError(f"Standardize has {len(self.center)} features; the table has {len(statistics.center)}")
        self.center.copy_(torch.from_numpy(statistics.center))
        self.scale.copy_(torch.from_numpy(statistics.scale))

    def forward(self, x: Tensor) -> Tensor:
        return (
            ((x - self.center) * self.scale)
            .nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf)
            .to(self.like.dtype)
        )


class Encode(nn.Module):
    """One-hot columns of categories and indicators of missing cells, before `Standardize`, which fills missing with 0.

    The columns are the numbers, then one for each feature whose cells may be missing (1 where they are), then one for
    each level of each category (1 where the cell holds it). A level that was never trained on, or is unknown, is all 0.

    **Shape**: `(n_rows, n_features)` to `(n_rows, n_columns)`; `n_columns` is its attribute.

    Example:
        >>> encode = Encode(2, levels={1: 3}, missing=(0,))
        >>> encode(torch.tensor([[5.0, 2.0], [torch.nan, 0.0]]))
        tensor([[5., 0., 0., 0., 1.],
                [nan, 1., 1., 0., 0.]])
    """

    source: Tensor
    level: Tensor

    def __init__(self, n_features: int, levels: Mapping[int, int] | None = None, missing: Iterable[int] = ()) -> None:
        super().__init__()
        encoding = encoding_of(n_features, levels or {}, missing)
        self.n_columns = len(encoding.source)
        self.register_buffer("source", torch.from_numpy(encoding.source).double())
        self.register_buffer("level", torch.from_numpy(encoding.level))

    def forward(self, x: Tensor) -> Tensor:
        cells = x[:, self.source.long()]
        encoded = torch.where(self.level.isposinf(), cells.isnan().to(x.dtype), cells)
        return torch.where(self.level.isfinite(), (cells == self.level).to(x.dtype), encoded)

    def extra_repr(self) -> str:
        return f"n_columns={self.n_columns}"


class SmoothClip(nn.Module):
    """Smooth clipping: `x / sqrt(1 + (x / limit)^2)`, which is `x` near zero and never beyond the limit.

    After `Standardize` it limits the effect of a wrong unit or a typing error (Holzmüller et al. 2024).

    **Shape**: `(n_rows, n_features)` to the same.

    Example:
        >>> SmoothClip(3.0)(torch.tensor([[0.1, 1000.0]]))
        tensor([[0.0999, 3.0000]])
    """

    def __init__(self, limit: float = 3.0) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        return x / torch.sqrt(1 + (x / self.limit) ** 2)

    def extra_repr(self) -> str:
        return f"limit={self.limit:g}"


class LogisticRegression(nn.Module):
    """One linear layer, whose output is the logit of the second class, or a logit per class (Cox 1958).

    **Shape**: `(n_rows, n_features)` to `(n_rows, n_outputs)`.
    """

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_features, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class MLP(nn.Module):
    """Multilayer perceptron: linear, (batch norm), activation, (dropout) for each hidden width, then linear.

    **Shape**: `(n_rows, n_features)` to `(n_rows, n_outputs)`.

    Example:
        >>> MLP(13, (10, 10), 3)(torch.zeros(5, 13)).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        n_features: int,
        hidden: tuple[int, ...],
        n_outputs: int,
        activation: str = "relu",
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for d_in, d_out in zip((n_features, *hidden), hidden, strict=False):
            layers.append(nn.Linear(d_in, d_out))
            if batch_norm:
                layers.append(nn.BatchNorm1d(d_out))
            layers.append(_activation(activation))
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
        layers.append(nn.Linear((n_features, *hidden)[-1], n_outputs))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class ResidualBlock(nn.Module):
    """`dropout(relu(norm(linear(x)))) + skip(x)` (He et al. 2016); the skip is projected where widths differ.

    **Shape**: `(n_rows, d_in)` to `(n_rows, d_out)`.
    """

    def __init__(self, d_in: int, d_out: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(d_in, d_out)
        self.norm = nn.BatchNorm1d(d_out)
        self.activation = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.skip = nn.Identity() if d_in == d_out else nn.Sequential(nn.Linear(d_in, d_out), nn.BatchNorm1d(d_out))

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.activation(self.norm(self.linear(x)))) + self.skip(x)


class ResidualMLP(nn.Module):
    """Residual network: input batch norm, a residual block per hidden width, output batch norm, linear.

    **Shape**: `(n_rows, n_features)` to `(n_rows, n_outputs)`.

    Example:
        >>> sum(parameter.numel() for parameter in ResidualMLP(10, (256, 128), 1).parameters())
        73365
    """

    def __init__(self, n_features: int, hidden: tuple[int, ...], n_outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        widths = (n_features, *hidden)
        self.input_norm = nn.BatchNorm1d(n_features)
        self.blocks = nn.Sequential(*(ResidualBlock(a, b, dropout) for a, b in zip(widths, hidden, strict=False)))
        self.output_norm = nn.BatchNorm1d(widths[-1])
        self.linear = nn.Linear(widths[-1], n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.output_norm(self.blocks(self.input_norm(x))))


def _activation(name: str) -> nn.Module:
    return nn.ReLU(inplace=True) if name == "relu" else OPS[name].layer_class()()  # in place: one pass less in memory


def build_model(config: Config, n_features: int, n_classes: int) -> nn.Sequential:
    """Return a config's network after a `Standardize` layer; its weights are not initialized yet.

    The two children are called `standardize` and `network`.
    """
    with torch.random.fork_rng(devices=[]):  # layers draw weights when they are made, which are not used
        return _layers(config, n_features, 1 if n_classes == 2 else n_classes)


def _layers(config: Config, n_features: int, n_outputs: int) -> nn.Sequential:
    network: nn.Module
    if config.model == "logistic":
        network = LogisticRegression(n_features, n_outputs)
    elif config.model == "mlp":
        network = MLP(
            n_features, config.hidden, n_outputs, config.activation, config.dropout, config.batch_norm
        )  # fmt: skip
    else:
        network = ResidualMLP(n_features, config.hidden, n_outputs, config.dropout)
    return nn.Sequential(OrderedDict(standardize=Standardize(n_features), network=network))


@torch.no_grad()
def initialize_weights(module: nn.Module, seed: int, member: int = 0) -> None:
    """Draw every linear layer's weights uniformly from +-sqrt(6 / (d_in + d_out)) and set its biases to zero.

    The bound is that of Glorot & Bengio (2010): the standard deviation is then sqrt(2 / (d_in + d_out)).

    Args:
        module: changed in place.
        seed, member: of the random stream.
    """
    rng = make_rng(seed, Purpose.INITIAL_WEIGHTS, member)
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            bound = math.sqrt(6 / (layer.in_features + layer.out_features))
            layer.weight.copy_(torch.from_numpy(rng.uniform(-bound, bound, tuple(layer.weight.shape))))
            if layer.bias is not None:
                layer.bias.zero_()
