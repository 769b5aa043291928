"""PyTorch modules become programs and modules again: nothing is lost, and what cannot be lowered is refused."""

from __future__ import annotations

import copy
import re
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from tabcohort import MLP, Config, EngineError, LogisticRegression, ResidualMLP, initialize_weights
from tabcohort.data.encoder import Statistics
from tabcohort.network.lower import lower, network_of, to_module, write_numbers
from tabcohort.network.models import Encode, ResidualBlock, SmoothClip, Standardize, build_model
from tabcohort.network.ops import ACTIVATIONS, OPS

D_IN = 7
TWICE = nn.ReLU()
LAYERS: dict[str, nn.Module] = {
    "linear": nn.Linear(D_IN, 1),
    "linear to three": nn.Linear(D_IN, 3),
    "linear in a chain": nn.Sequential(nn.Linear(D_IN, 2)),
    "logistic": LogisticRegression(D_IN, 3),
    "standardize": nn.Sequential(Standardize(D_IN), nn.Linear(D_IN, 3)),
    "smooth clip": nn.Sequential(SmoothClip(0.7), nn.Linear(D_IN, 3)),
    "both": nn.Sequential(Standardize(D_IN), SmoothClip(2.0), nn.Linear(D_IN, 3)),
    "batch norm": nn.Sequential(nn.Linear(D_IN, 5), nn.BatchNorm1d(5, eps=0.01), nn.Linear(5, 1)),
    "batch norm of the rows": nn.Sequential(nn.BatchNorm1d(D_IN, momentum=0.3), nn.Linear(D_IN, 1)),
    "layer norm": nn.Sequential(nn.Linear(D_IN, 5), nn.LayerNorm(5, eps=1e-3), nn.Linear(5, 1)),
    "leaky relu": nn.Sequential(nn.Linear(D_IN, 5), nn.LeakyReLU(0.2), nn.Linear(5, 1)),
    "dropout": nn.Sequential(nn.Dropout(0.3), nn.Linear(D_IN, 5), nn.Dropout(0.5), nn.Linear(5, 3)),
    "dropout of nothing": nn.Sequential(nn.Linear(D_IN, 5), nn.Dropout(0.0), nn.Linear(5, 1)),
    "dropout of all": nn.Sequential(nn.Linear(D_IN, 5), nn.Dropout(1.0), nn.Linear(5, 1)),
    "identity": nn.Sequential(nn.Identity(), nn.Sequential(nn.Linear(D_IN, 2), nn.Identity())),
    "one layer twice": nn.Sequential(nn.Linear(D_IN, 5), TWICE, nn.Linear(5, 4), TWICE, nn.Linear(4, 1)),
    "names": nn.Sequential(OrderedDict(program=nn.Linear(D_IN, 3), training_=nn.ReLU(), x=nn.Linear(3, 1))),
    "residual block": nn.Sequential(ResidualBlock(D_IN, 3), nn.Linear(3, 1)),
    "residual": ResidualMLP(D_IN, (6, 6, 4), 3, dropout=0.2),
    "whole": build_model(Config(model="residual", hidden=(6, 4)), D_IN, 2),
    **{name: MLP(D_IN, (6, 5), 1, activation=name) for name in ACTIVATIONS},
}


def trained(module: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return a copy in evaluation mode, with numbers everywhere that no new layer has."""
    module = copy.deepcopy(module).to(dtype).eval()
    initialize_weights(module, seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in module.named_buffers():
            if buffer.is_floating_point() and buffer.numel():
                buffer.add_(0.5 * torch.rand(buffer.shape, generator=generator), alpha=-1 if "mean" in name else 1)
    for layer in module.modules():
        if isinstance(layer, Standardize):
            layer.center = torch.linspace(-3.1, 1e9, len(layer.center), dtype=torch.float64)
            layer.scale = torch.linspace(0.3, 2.1, len(layer.scale), dtype=torch.float64)
    return module


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's numbers, without the count of batches, which a program does not have and no prediction uses."""
    return {name: tensor for name, tensor in module.state_dict().items() if not name.endswith("num_batches_tracked")}


def rows_for(module: nn.Module, n_rows: int = 11) -> Tensor:
    """Return rows as the training rows are, in the units of the module's own statistics."""
    rows = torch.randn(n_rows, D_IN, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for layer in module.modules():
        if isinstance(layer, Standardize):
            return rows / layer.scale + layer.center
    return rows.to(next(module.parameters()).dtype)


@torch.no_grad()
def assert_the_same(actual: nn.Module, expected: nn.Module, rows: Tensor) -> None:
    """Assert that two modules have the same numbers under the same names, and give the same bits."""
    assert list(actual.state_dict()) == list(expected.state_dict())
    for (name, one), other in zip(state_of(actual).items(), state_of(expected).values(), strict=True):
        assert one.dtype == other.dtype, name
        assert torch.equal(one, other), name
    assert torch.equal(actual(rows), expected(rows))
    assert actual(rows).isfinite().all()


# There and back


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LAYERS)
def test_a_module_goes_through_its_network_and_back_with_all_that_it_does(name: str, dtype: torch.dtype) -> None:
    module = trained(LAYERS[name], dtype)
    again = to_module(network_of(module, lower(module, D_IN)))
    assert not any(layer.training for layer in again.modules())
    assert_the_same(again, module, rows_for(module))


@st.composite
def nestings(draw: st.DrawFn, depth: int = 3) -> nn.Sequential:
    """Layers in layers in layers, of any widths, some under names of their own and some more than once."""
    width = D_IN
    shared = [nn.ReLU(), nn.Dropout(0.3), nn.Identity()]

    def block(depth: int) -> nn.Sequential:
        nonlocal width
        layers: list[nn.Module] = []
        for _ in range(draw(st.integers(0, 4))):
            kind = draw(st.sampled_from(["nest", "linear", "residual", "norm", "plain", "shared"]))
            if kind == "nest" and depth:
                layers.append(block(depth - 1))
            elif kind == "linear":
                d_in, width = width, draw(st.integers(1, 9))
                layers.append(nn.Linear(d_in, width))
            elif kind == "residual":
                d_in, width = width, draw(st.sampled_from([width, 4]))
                layers.append(ResidualBlock(d_in, width, draw(st.sampled_from([0.0, 0.3]))))
            elif kind == "norm":
                layers.append(draw(st.sampled_from([nn.BatchNorm1d, nn.LayerNorm]))(width))
            elif kind == "plain":
                layers.append(OPS[draw(st.sampled_from(ACTIVATIONS))].layer_class()())
            else:
                layers.append(draw(st.sampled_from(shared)))
        if draw(st.booleans()):
            return nn.Sequential(OrderedDict((f"part_{number}", layer) for number, layer in enumerate(layers)))
        return nn.Sequential(*layers)

    inputs = draw(st.sampled_from([[], [Standardize(D_IN)], [SmoothClip(2.0)], [Standardize(D_IN), SmoothClip(1.0)]]))
    middle = block(depth)
    return nn.Sequential(*inputs, middle, nn.Linear(width, draw(st.integers(1, 4))))


@given(nestings(), st.sampled_from([torch.float32, torch.float64]))
@hypothesis_settings(max_examples=100, deadline=None)
def test_any_nesting_goes_through_its_network_and_back_with_all_that_it_does(
    nesting: nn.Sequential, dtype: torch.dtype
) -> None:
    module = trained(nesting, dtype)
    again = to_module(network_of(module, lower(module, D_IN)))
    rows = rows_for(module)
    for name, tensor in state_of(module).items():
        assert torch.equal(again.state_dict()[name], tensor), name
    with torch.no_grad():
        assert torch.equal(again(rows), module(rows))


def test_a_module_of_a_network_learns_as_the_first_one_does() -> None:
    """Dropout, and the statistics of batch norm with its momentum, are those of the layers that were lowered."""
    module = trained(
        nn.Sequential(nn.Linear(D_IN, 5), nn.BatchNorm1d(5, momentum=0.3), nn.Dropout(0.5), nn.Linear(5, 1))
    )
    again = to_module(network_of(module, lower(module, D_IN)))
    rows = rows_for(module)
    outputs = []
    for learning in (module, again):
        torch.manual_seed(3)
        outputs.append(learning.train()(rows))
        outputs[-1].sum().backward()
    assert torch.equal(*outputs)
    assert_the_same(again.eval(), module.eval(), rows)
    for one, other in zip(again.parameters(), module.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_a_layer_in_two_places_is_used_in_both() -> None:
    activation = nn.Tanh()
    module = nn.Sequential(nn.Linear(D_IN, 3), activation, nn.Linear(3, 3), activation, nn.Linear(3, 1))
    program = lower(module, D_IN)
    assert [op.kind for op in program.operations[:-1]] == ["linear", "tanh", "linear", "tanh", "linear"]
    assert [op.path for op in program.operations[:-1]] == ["0", "1", "2", "3", "4"]
    assert [op.sources for op in program.operations] == [(0,), (1,), (2,), (3,), (4,), (5,)]


def test_standardize_and_smooth_clip_come_first_and_keep_their_numbers() -> None:
    module = nn.Sequential(Standardize(D_IN), SmoothClip(2.5), nn.Linear(D_IN, 1))
    statistics = Statistics(np.linspace(-1e9, 1e9, D_IN), np.geomspace(1e-9, 1e9, D_IN))
    module[0].set_statistics(statistics)
    program = lower(module, D_IN)
    assert [op.kind for op in program.operations[:-1]] == ["standardize", "smooth_clip", "linear"]
    assert program.operations[1].constants == (2.5,)
    actual = network_of(module, program).statistics()
    assert actual is not None
    np.testing.assert_array_equal(actual.center, statistics.center)
    np.testing.assert_array_equal(actual.scale, statistics.scale)


def test_encode_standardize_and_smooth_clip_go_through_a_network_and_back() -> None:
    encode = Encode(4, levels={1: 3, 3: 2}, missing=(0, 2))
    module = nn.Sequential(encode, Standardize(encode.n_columns), SmoothClip(), nn.Linear(encode.n_columns, 2))
    module[1].set_statistics(Statistics(np.linspace(-1, 1, encode.n_columns), np.linspace(0.5, 2, encode.n_columns)))
    program = lower(module, 4)
    assert [op.kind for op in program.operations[:-1]] == ["encode", "standardize", "smooth_clip", "linear"]
    assert program.widths == (4, 9, 9, 9, 2)
    network = network_of(module, program)
    assert network.encoding == encode.encoding
    assert (encode.encoding.numbers, encode.encoding.missing, encode.encoding.codes) == ((0, 2), (0, 1), (1, 3))
    again = to_module(network)
    rows = torch.tensor([[0.5, 2.0, torch.nan, 1.0], [torch.nan, 0.0, -3.0, 0.0]], dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(again(rows), module.eval()(rows))


# Numbers


@pytest.mark.parametrize("name", LAYERS)
def test_reading_and_writing_a_module_changes_no_bit(name: str) -> None:
    module = trained(LAYERS[name])
    before = copy.deepcopy(state_of(module))
    network = network_of(module, lower(module, D_IN))
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.zero_()
    write_numbers(network, module)
    for key, tensor in state_of(module).items():
        assert torch.equal(tensor, before[key]), key


@pytest.mark.parametrize(("dtype", "expected"), [(torch.float32, np.float32), (torch.float64, np.float64)])
def test_the_parameters_of_a_network_have_the_type_of_the_modules(dtype: torch.dtype, expected: type) -> None:
    module = trained(LAYERS["whole"], dtype)
    network = network_of(module, lower(module, D_IN))
    assert network.parameters.dtype == expected
    assert network.buffers.dtype == np.float64


# What cannot be lowered


def chain(*middle: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(D_IN, 4), nn.Sequential(*middle), nn.Linear(4, 1))


class Doubled(nn.Linear):
    """Is a Linear, and does something else."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


OTHERS: dict[str, tuple[nn.Module, str]] = {
    "activation": (chain(nn.Softplus()), "the layer '1.0' (Softplus"),
    "no bias": (chain(nn.Linear(4, 4, bias=False)), "the layer '1.0' (Linear"),
    "another GELU": (chain(nn.GELU(approximate="tanh")), "the layer '1.0' (GELU"),
    "no gains": (chain(nn.BatchNorm1d(4, affine=False)), "the layer '1.0' (BatchNorm1d"),
    "no statistics": (chain(nn.BatchNorm1d(4, track_running_stats=False)), "the layer '1.0' (BatchNorm1d"),
    "a plain mean": (chain(nn.BatchNorm1d(4, momentum=None)), "the layer '1.0' (BatchNorm1d"),
    "no shifts": (chain(nn.LayerNorm(4, bias=False)), "the layer '1.0' (LayerNorm"),
    "two dimensions": (chain(nn.LayerNorm((1, 4))), "the layer '1.0' (LayerNorm"),
    "a subclass": (chain(Doubled(4, 4)), "the layer '1.0' (Doubled"),
    "another dropout": (chain(nn.AlphaDropout(0.1)), "the layer '1.0' (AlphaDropout"),
    "a parametrized layer": (chain(parametrizations.weight_norm(nn.Linear(4, 4))), "the layer '1.0' (Parametrized"),
    "smooth clip after linear": (chain(SmoothClip()), "the layer '1.0' (SmoothClip"),
    "standardize after linear": (chain(Standardize(4)), "the layer '1.0' (Standardize"),
    "another width": (nn.Sequential(nn.Linear(D_IN + 1, 1)), f"the layer '0' (Linear(in_features={D_IN + 1}"),
    "a container": (nn.Sequential(nn.ModuleList([nn.Linear(D_IN, 1)])), "the layer '0' (ModuleList"),
    "a module of its own": (nn.Bilinear(D_IN, D_IN, 1), "the module (Bilinear"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_layer_that_cannot_be_lowered_is_named_by_its_path(name: str) -> None:
    module, words = OTHERS[name]
    with pytest.raises(EngineError) as raised:
        lower(module, D_IN)
    (sentence,) = str(raised.value).splitlines()  # and not a network's layers, line by line
    assert re.match(rf"{re.escape(words)}.* cannot be compiled; train it with engine='torch'", sentence)


def test_the_error_says_what_can_be_used_instead() -> None:
    with pytest.raises(
        EngineError,
        match=r"or build it of Encode, Standardize, SmoothClip, Embed, .* ResidualBlock and Seq",
    ):
        lower(nn.Softplus(), D_IN)


@pytest.mark.parametrize("module", [nn.Sequential(nn.ReLU()), nn.Sequential(), Standardize(D_IN), nn.Identity()])
def test_a_module_without_parameters_is_an_error(module: nn.Module) -> None:
    with pytest.raises(EngineError, match="the module has no trainable parameters"):
        lower(module, D_IN)


def nothing(*arguments: object) -> None:
    return None


HOOKS: dict[str, Callable[[nn.Module], object]] = {
    "forward": lambda layer: layer.register_forward_hook(nothing),
    "before forward": lambda layer: layer.register_forward_pre_hook(nothing),
    "backward": lambda layer: layer.register_full_backward_hook(nothing),
    "before backward": lambda layer: layer.register_full_backward_pre_hook(nothing),
}


@pytest.mark.parametrize("hook", HOOKS.values(), ids=HOOKS)
@pytest.mark.parametrize(("path", "words"), [("1.0", "the layer '1.0'"), ("", "the module")])
def test_a_hook_is_refused_by_the_path_of_its_layer(hook: Callable[[nn.Module], object], path: str, words: str) -> None:
    module = chain(nn.Linear(4, 4))
    hook(module.get_submodule(path))
    with pytest.raises(EngineError, match=f"^{words} has a hook and cannot be compiled; train it with engine='torch'$"):
        lower(module, D_IN)


def test_a_hook_that_is_removed_again_is_ignored() -> None:
    module = chain(nn.Linear(4, 4))
    module[1].register_forward_hook(nothing).remove()
    assert lower(module, D_IN).n_parameters == 8 * 4 + 20 + 5


def test_a_hook_of_a_gradient_is_refused_by_the_name_of_its_parameter() -> None:
    module = chain(nn.Linear(4, 4))
    module[1][0].weight.register_hook(lambda gradient: 2 * gradient)
    with pytest.raises(EngineError, match=r"'1\.0\.weight' has a hook and cannot be compiled"):
        lower(module, D_IN)


def test_a_replaced_forward_is_refused_by_the_path_of_its_layer() -> None:
    module = chain(nn.ReLU())
    module[1][0].forward = torch.sin
    with pytest.raises(
        EngineError,
        match=r"^the layer '1\.0' has a replaced forward and cannot be compiled; train it with engine='torch'$",
    ):
        lower(module, D_IN)


def test_a_frozen_parameter_is_refused_by_name() -> None:
    module = chain(nn.BatchNorm1d(4))
    module[1][0].bias.requires_grad_(False)
    words = r"^the parameter '1\.0\.bias' is frozen and cannot be compiled; train it with engine='torch'$"
    with pytest.raises(EngineError, match=words):
        lower(module, D_IN)


def one_layer_twice() -> nn.Module:
    twice = nn.Linear(4, 4)
    return chain(twice, nn.ReLU(), twice)


def one_parameter_of_two_layers() -> nn.Module:
    module = chain(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1][1].weight = module[1][0].weight
    return module


@pytest.mark.parametrize(
    ("module", "name"), [(one_layer_twice(), "1.2.weight"), (one_parameter_of_two_layers(), "1.1.weight")]
)
def test_a_shared_parameter_is_refused_by_name(module: nn.Module, name: str) -> None:
    words = f"^the parameter '{re.escape(name)}' is shared by two layers and cannot be compiled; train it with engine="
    with pytest.raises(EngineError, match=words):
        lower(module, D_IN)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.complex64])
def test_parameters_of_another_type_are_refused_by_name(dtype: torch.dtype) -> None:
    module = nn.Sequential(nn.Linear(D_IN, 4), nn.Linear(4, 1, dtype=dtype))
    words = f"^the parameter '1.weight' is {dtype} and cannot be compiled; make it float32 or float64$"
    with pytest.raises(EngineError, match=words):
        lower(module, D_IN)
