"""The networks as plain PyTorch modules: rows in, logits out.

Every module here maps a float tensor of shape `(n_rows, n_features)` to logits of shape `(n_rows, n_outputs)`:
one output, the logit of the second class, when there are two classes; one output per class when there are more.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

from tabcohort.data.encoder import Encoding, Statistics, one_hot_encoding
from tabcohort.data.scaling import N_KNOTS, ROBUST_LIMIT
from tabcohort.errors import TrainingError
from tabcohort.network.ops import GLOROT, LECUN, OPS
from tabcohort.network.program import VECTOR_LENGTH
from tabcohort.randomness import Purpose, make_rng
from tabcohort.settings import Config


class Standardize(nn.Module):
    """Center and scale each feature: `(x - center) * scale`, computed in float64 and returned in the module's dtype.

    A missing cell (NaN) becomes 0, the mean. As the first layer of an `nn.Sequential` it is fitted on the training
    rows alone.

    **Shape**: `(n_rows, n_features)` to the same.

    Examples:
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
    """Columns of numbers, indicators of missing cells and categories, before `Standardize`.

    The columns are the numbers, then one for each number whose cells may be missing (1 where they are), then those of
    each category: by default one for each level (1 where the cell holds it). What is missing or unknown in a number or
    a category is NaN, which `Standardize` sets to the mean.

    Args:
        encoding: how inputs become columns; or the number of inputs, with `levels` and `missing`.
        levels: the number of levels, coded from 0, of each input that is a category.
        missing: the inputs whose cells may be missing.

    **Shape**: `(n_rows, n_inputs)` to `(n_rows, n_columns)`; `n_columns` is its attribute.

    Examples:
        >>> encode = Encode(2, levels={1: 3}, missing=(0,))
        >>> encode(torch.tensor([[5.0, 2.0], [torch.nan, 0.0]]))
        tensor([[5., 0., 0., 0., 1.],
                [nan, 1., 1., 0., 0.]])
    """

    fill: Tensor
    lookup: Tensor
    vector_row: Tensor

    def __init__(
        self, encoding: Encoding | int, levels: Mapping[int, int] | None = None, missing: Iterable[int] = ()
    ) -> None:
        super().__init__()
        if isinstance(encoding, int):
            encoding = one_hot_encoding(encoding, levels or {}, missing)
        self.encoding, self.n_columns = encoding, encoding.n_columns
        identities = [
            np.where(np.arange(category.n_codes)[:, None] == category.n_codes - 1, np.nan, np.eye(*category.shape))
            for category in encoding.categories
        ]
        lookup = np.concatenate([np.empty(0), *(identity.ravel() for identity in identities)])
        self.register_buffer("fill", torch.full((len(encoding.numbers),), torch.nan, dtype=torch.float64))
        self.register_buffer("lookup", torch.from_numpy(lookup))
        self.register_buffer("vector_row", torch.zeros(int(encoding.code_starts[-1]), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        encoding = self.encoding
        numbers = x[:, list(encoding.numbers)]
        missing = numbers.isnan()
        columns = [torch.where(missing, self.fill.to(x.dtype), numbers), missing[:, list(encoding.missing)].to(x.dtype)]
        vector_rows = []
        for place, (source, category) in enumerate(zip(encoding.codes, encoding.categories, strict=True)):
            cells = x[:, source]
            is_code = (cells >= 0) & (cells < category.n_codes) & (cells == cells.floor())
            codes = torch.where(is_code, cells, category.n_codes - 1).long()
            start, end = encoding.lookup_starts[place : place + 2]
            columns.append(self.lookup[start:end].view(category.shape)[codes].to(x.dtype))
            if category.n_learned:
                vector_rows.append(self.vector_row[encoding.code_starts[place] + codes][:, None].to(x.dtype))
        return torch.cat([*columns, *vector_rows], dim=1)

    def extra_repr(self) -> str:
        return f"n_columns={self.n_columns}"


class Embed(nn.Module):
    """Learned vectors of categories: the last columns hold rows of a table, whose vectors take their place.

    A row of -1 stands for the zero vector.

    Args:
        n_categories: columns that hold rows.
        n_rows: rows of the table, of all categories together.
        length: of a vector.

    **Shape**: `(n_rows, d)` to `(n_rows, d - n_categories + n_categories * length)`.

    Examples:
        >>> Embed(1, 5, 2)(torch.tensor([[0.5, 3.0], [0.5, -1.0]]))[1]
        tensor([0.5000, 0.0000, 0.0000], grad_fn=<SelectBackward0>)
    """

    def __init__(self, n_categories: int, n_rows: int, length: int) -> None:
        super().__init__()
        self.sizes = (n_categories, n_rows, length)
        self.weight = nn.Parameter(torch.empty(length, n_rows))
        nn.init.uniform_(self.weight, -1 / math.sqrt(length), 1 / math.sqrt(length))

    def d_out(self, d_in: int) -> int:
        """Return the columns it writes, given those that it reads."""
        return d_in + self.sizes[0] * (self.sizes[2] - 1)

    def forward(self, x: Tensor) -> Tensor:
        n_plain = x.shape[1] - self.sizes[0]
        rows = x[:, n_plain:].long()
        vectors = torch.where((rows >= 0)[:, :, None], self.weight.T[rows.clamp(min=0)], 0.0)
        return torch.cat([x[:, :n_plain], vectors.flatten(1)], dim=1)

    def extra_repr(self) -> str:
        return "n_categories={}, n_rows={}, length={}".format(*self.sizes)


class PiecewiseLinear(nn.Module):
    """Piecewise-linear encoding of numbers (Gorishniy, Rubachev & Babenko 2022), before the columns that it reads.

    Bin b rises from 0 to 1 while column `column[b]` rises from `lower[b]` by `1 / inverse[b]`, and is constant
    elsewhere. The bins are fitted on training rows; see `tabcohort.data.bins.fit_bins`.

    **Shape**: `(n_rows, d)` to `(n_rows, n_bins + d)`.

    Examples:
        >>> bins = PiecewiseLinear(2)
        >>> bins.lower[:], bins.inverse[:] = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.5])
        >>> bins(torch.tensor([[0.5], [2.0]]))
        tensor([[0.5000, 0.0000, 0.5000],
                [1.0000, 0.5000, 2.0000]])
    """

    column: Tensor
    lower: Tensor
    inverse: Tensor

    def __init__(self, n_bins: int) -> None:
        super().__init__()
        self.n_bins = n_bins
        for name in ("column", "lower", "inverse"):
            self.register_buffer(name, torch.zeros(n_bins, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        bins = (x[:, self.column.long()] - self.lower.to(x.dtype)) * self.inverse.to(x.dtype)
        return torch.cat([bins.clamp(0, 1), x], dim=1)

    def extra_repr(self) -> str:
        return f"n_bins={self.n_bins}"


class RobustScale(nn.Module):
    """Scaling of numbers by quartiles, and smooth clipping: `z / sqrt(1 + (z / limit)^2)` (Holzmüller et al. 2024).

    With `z = (x - median) * inverse_range`, for the first columns; the others stay as they are. The quartiles are those
    of training rows; see `tabcohort.data.scaling.fit_scaling`.

    **Shape**: `(n_rows, d)` to the same.

    Examples:
        >>> RobustScale(1)(torch.tensor([[1000.0, 1000.0]]))
        tensor([[   3.0000, 1000.0000]])
    """

    median: Tensor
    inverse_range: Tensor

    def __init__(self, n_numbers: int, limit: float = ROBUST_LIMIT) -> None:
        super().__init__()
        self.n_numbers, self.limit = n_numbers, limit
        self.constants = (limit, n_numbers)
        self.register_buffer("median", torch.zeros(n_numbers, dtype=torch.float64))
        self.register_buffer("inverse_range", torch.ones(n_numbers, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        z = (x[:, : self.n_numbers] - self.median.to(x.dtype)) * self.inverse_range.to(x.dtype)
        return torch.cat([z / torch.sqrt(1 + (z / self.limit) ** 2), x[:, self.n_numbers :]], dim=1)

    def extra_repr(self) -> str:
        return f"{self.n_numbers}, limit={self.limit:g}"


class QuantileScale(nn.Module):
    """Normal scores of numbers, linear between knots, and constant beyond them; the first columns are the numbers.

    The knots are quantiles of training rows; see `tabcohort.data.scaling.fit_scaling`.

    **Shape**: `(n_rows, d)` to the same.

    Examples:
        >>> scale = QuantileScale(1, 3)
        >>> scale.knots[:], scale.heights[:] = torch.tensor([0.0, 1.0, 9.0]), torch.tensor([-1.0, 0.0, 1.0])
        >>> scale(torch.tensor([[5.0, 5.0], [20.0, 20.0]]))
        tensor([[ 0.5000,  5.0000],
                [ 1.0000, 20.0000]])
    """

    knots: Tensor
    heights: Tensor

    def __init__(self, n_numbers: int, n_knots: int) -> None:
        super().__init__()
        self.n_numbers, self.n_knots = n_numbers, n_knots
        self.constants = (n_knots, n_numbers)
        self.register_buffer("knots", torch.zeros(n_numbers * n_knots, dtype=torch.float64))
        self.register_buffer("heights", torch.zeros(n_numbers * n_knots, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        knots, heights = (values.to(x.dtype).view(-1, self.n_knots) for values in (self.knots, self.heights))
        numbers = x[:, : self.n_numbers].T.contiguous()
        n_below = torch.searchsorted(knots, numbers, right=True)
        left, right = (n_below - 1).clamp(min=0), n_below.clamp(max=self.n_knots - 1)
        low, width = knots.gather(1, left), knots.gather(1, right) - knots.gather(1, left)
        height, rise = heights.gather(1, left), heights.gather(1, right) - heights.gather(1, left)
        scaled = height + torch.where(left < right, (numbers - low) / width, 0.0) * rise
        return torch.cat([scaled.T, x[:, self.n_numbers :]], dim=1)

    def extra_repr(self) -> str:
        return f"{self.n_numbers}, {self.n_knots}"


class Periodic(nn.Module):
    """Periodic embedding of numbers with learned frequencies (Gorishniy, Rubachev & Babenko 2022), before its input.

    `cos(2 pi (sigma * weight * x + bias))` for each frequency of each number, as in RealMLP (Holzmüller et al. 2024).

    Args:
        n_numbers: columns that are embedded, beside each other.
        n_frequencies: of each of them.
        sigma: initial standard deviation of the frequencies.
        first: the first of these columns.

    **Shape**: `(n_rows, d)` to `(n_rows, n_numbers * n_frequencies + d)`.

    Examples:
        >>> Periodic(2, 8, 0.5)(torch.zeros(4, 3)).shape
        torch.Size([4, 19])
    """

    def __init__(self, n_numbers: int, n_frequencies: int, sigma: float, first: int = 0) -> None:
        super().__init__()
        self.constants = (n_numbers, first, sigma)
        self.columns, self.sigma, self.n_frequencies = slice(first, first + n_numbers), sigma, n_frequencies
        self.weight = nn.Parameter(torch.randn(n_numbers * n_frequencies))
        self.bias = nn.Parameter(torch.rand(n_numbers * n_frequencies) - 0.5)

    def forward(self, x: Tensor) -> Tensor:
        numbers = x[:, self.columns].repeat_interleave(self.n_frequencies, dim=1)
        waves = torch.cos(2 * math.pi * (self.sigma * self.weight * numbers + self.bias))
        return torch.cat([waves, x], dim=1)

    def extra_repr(self) -> str:
        return "n_numbers={}, first={}, sigma={:g}".format(*self.constants) + f", n_frequencies={self.n_frequencies}"


class Scale(nn.Module):
    """A learned factor for each column, 1 at first (Holzmüller et al. 2024).

    **Shape**: `(n_rows, n_columns)` to the same.
    """

    def __init__(self, n_columns: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_columns))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class SmoothClip(nn.Module):
    """Smooth clipping: `x / sqrt(1 + (x / limit)^2)`, which is `x` near zero and never beyond the limit.

    After `Standardize` it limits the effect of a wrong unit or a typing error (Holzmüller et al. 2024).

    **Shape**: `(n_rows, n_features)` to the same.

    Examples:
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

    Examples:
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

    Examples:
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


def build_model(
    config: Config, n_inputs: int, n_classes: int, encoding: Encoding | None = None, n_bins: int = 0
) -> nn.Sequential:
    """Return a config's network after what prepares its inputs; its weights are not initialized yet.

    The children are called `standardize` and `network`; where there is an encoding also `encode` and `embed`, where
    there are bins of numbers also `bins`, and where the config asks for them also `scaling`, `periodic` and `scale`.
    """
    n_numbers = n_inputs if encoding is None else len(encoding.numbers)
    with torch.random.fork_rng(devices=[]):  # layers draw weights when they are made, which are not used
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if encoding is not None:
            layers["encode"], n_inputs = Encode(encoding), encoding.n_columns
        layers["standardize"] = Standardize(n_inputs)
        if n_numbers and config.scaling == "robust":
            layers["scaling"] = RobustScale(n_numbers)
        elif n_numbers and config.scaling == "quantile":
            layers["scaling"] = QuantileScale(n_numbers, N_KNOTS)
        if n_bins:
            layers["bins"], n_inputs = PiecewiseLinear(n_bins), n_inputs + n_bins
        if encoding is not None and encoding.learned:
            embed = Embed(len(encoding.learned), encoding.vector_rows, VECTOR_LENGTH)
            layers["embed"], n_inputs = embed, embed.d_out(n_inputs)
        if n_numbers and config.periodic:
            layers["periodic"] = Periodic(n_numbers, config.periodic, config.periodic_scale, n_bins)
            n_inputs += n_numbers * config.periodic
        if config.input_scale:
            layers["scale"] = Scale(n_inputs)
        layers["network"] = _network(config, n_inputs, 1 if n_classes == 2 else n_classes)
        return nn.Sequential(layers)


def _network(config: Config, n_features: int, n_outputs: int) -> nn.Module:
    if config.model == "logistic":
        return LogisticRegression(n_features, n_outputs)
    if config.model == "mlp":
        return MLP(n_features, config.hidden, n_outputs, config.activation, config.dropout, config.batch_norm)
    return ResidualMLP(n_features, config.hidden, n_outputs, config.dropout)


@torch.no_grad()
def initialize_weights(module: nn.Module, seed: int, member: int = 0, weight_init: str = GLOROT) -> None:
    """Draw every linear layer's weights as `weight_init` says (see `Config`), and set its biases to zero.

    Learned vectors are drawn from +-1 / sqrt(length); frequencies from a standard normal distribution, phases from
    +-1/2.

    Args:
        module: changed in place.
        seed: seed of the random stream.
        member: number of the member, which also selects the random stream.
        weight_init: "glorot_uniform" or "lecun_normal".
    """
    rng = make_rng(seed, Purpose.INITIAL_WEIGHTS, member)
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            size = tuple(layer.weight.shape)
            if weight_init == LECUN:
                weight = rng.standard_normal(size) / math.sqrt(layer.in_features)
            else:
                bound = math.sqrt(6 / sum(size))
                weight = rng.uniform(-bound, bound, size)
            layer.weight.copy_(torch.from_numpy(weight))
            if layer.bias is not None:
                layer.bias.zero_()
        elif isinstance(layer, Periodic):
            layer.weight.copy_(torch.from_numpy(rng.standard_normal(len(layer.weight))))
            layer.bias.copy_(torch.from_numpy(rng.uniform(-0.5, 0.5, len(layer.bias))))
        elif isinstance(layer, Embed):
            bound = 1 / math.sqrt(layer.sizes[2])
            layer.weight.copy_(torch.from_numpy(rng.uniform(-bound, bound, tuple(layer.weight.shape))))
