"""A model as one ONNX graph: from the raw columns to probabilities and classes.

Numbers are encoded in float64 and networks run in float32, as in `Predictor`. What a category's code becomes is the
same for all rows, so it is standardized here and looked up in the graph. Trees are a `TreeEnsemble` each.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.columns import Boolean, Category, Column, Date, IntegerCode, Text
from tabcohort.data.encoder import NO_ROW, Statistics
from tabcohort.data.parse import FALSE_WORDS, MISSING_WORDS, TRUE_WORDS, as_text
from tabcohort.engines.compiled.inference import Instruction, instructions_of
from tabcohort.engines.compiled.inference_kernels import ADD, AFFINE, EMBED, LINEAR, MAX_DEVIATIONS, PIECEWISE_LINEAR
from tabcohort.errors import EngineError, listed
from tabcohort.evaluation.calibration import NONE
from tabcohort.model.predictor import Predictor
from tabcohort.network.ops import OPS
from tabcohort.network.program import Network
from tabcohort.network.trees import MISSING_LEFT, Trees
from tabcohort.types import FloatArray

if TYPE_CHECKING:
    import onnx
    import polars as pl

OPSETS = {"": 17, "ai.onnx.ml": 5}  # onnxruntime has both from version 1.20 on
IR_VERSION = 10
TINY = float(np.finfo(np.float64).tiny)
LEAF_BELOW, ANY_OF = 0, 6  # modes of nodes: a number up to the split goes to the true side; a member of a set does


def to_onnx(predictor: Predictor) -> onnx.ModelProto:
    """Return a model as an ONNX graph that `onnxruntime` runs.

    Its inputs have the names of the columns and are of shape (n, 1): numbers are float64, NaN where one is missing;
    categories and truth values are text, empty where one is missing. Its outputs are `label` (n,) and `probabilities`
    (n, n_classes), float64; an underscore follows where a column has the name.

    Raises:
        EngineError: the extra `onnx` is not installed, columns are dates or text, or a network has an operation that
            is not written yet: `robust_scale`, `quantile_scale`, `periodic`, `smooth_clip` and `layer_norm`.
    """
    try:
        from onnx import TensorProto, helper
        from onnx.checker import check_model
    except ImportError:
        raise EngineError("writing ONNX needs an extra; install it with `pip install 'tabcohort[onnx]'`") from None
    schema = predictor.schema
    _check_columns(schema.columns)
    graph = _Graph(schema.features)
    inputs = [
        helper.make_tensor_value_info(
            column.name, TensorProto.DOUBLE if column.n_numbers else TensorProto.STRING, ["n", 1]
        )
        for column in schema.columns
    ]
    rows = _Rows(graph, schema.columns)
    probabilities = _probabilities(graph, predictor, rows)
    label = _labels(graph, predictor, probabilities)
    outputs = []
    for name, value, kind, width in (
        ("label", label, _label_type(schema.classes), None),
        ("probabilities", probabilities, TensorProto.DOUBLE, len(schema.classes)),
    ):
        name = graph.free_name(name)
        graph.nodes.append(helper.make_node("Identity", [value], [name]))
        outputs.append(helper.make_tensor_value_info(name, kind, ["n"] if width is None else ["n", width]))
    made = helper.make_graph(graph.nodes, "tabcohort", inputs, outputs, graph.constants)
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    model = helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION, producer_name="tabcohort")
    fingerprint = predictor.report.fingerprint
    described = {"target": schema.target, "classes": json.dumps(schema.classes), "fingerprint": fingerprint}
    helper.set_model_props(model, described)
    check_model(model)
    return model


def graph_inputs(frame: pl.DataFrame, columns: Sequence[Column]) -> dict[str, NDArray[Any]]:
    """Return what a graph is given for the rows of a frame, `(n, 1)` for each column.

    Args:
        frame: the rows.
        columns: of the model's schema.
    """
    inputs: dict[str, NDArray[Any]] = {}
    for column in columns:
        cells = frame[column.name]
        if column.n_numbers:
            inputs[column.name] = column.numbers(cells)
        else:
            inputs[column.name] = as_text(cells).fill_null("").to_numpy().astype(object)[:, None]
    return inputs


def graph_facts(model: onnx.ModelProto) -> dict[str, Any]:
    """Return the inputs and outputs of a model as plain JSON values.

    Returns:
        `inputs` and `outputs`: of each its `name`, `type` ("double", "string" and so on) and `shape`; `opsets`: the
        version of each domain of operations.
    """
    from onnx import TensorProto

    def described(value: Any) -> dict[str, str]:
        own = value.type.tensor_type
        sizes = [size.dim_param or str(size.dim_value) for size in own.shape.dim]
        kind = TensorProto.DataType.Name(own.elem_type).lower()
        return {"name": value.name, "type": kind, "shape": f"({', '.join(sizes)})"}

    return {
        "inputs": [described(value) for value in model.graph.input],
        "outputs": [described(value) for value in model.graph.output],
        "opsets": dict(OPSETS),
    }


def _check_columns(columns: Sequence[Column]) -> None:
    """Raise `EngineError` if columns are read by rules of our own, or have no name."""
    parsed = [column for column in columns if isinstance(column, Date | Text)]
    if parsed:
        names = listed([f"{column.name!r} ({column.kind})" for column in parsed], 10)
        options = " ".join(f"--drop {shlex.quote(column.name)}" for column in parsed)
        raise EngineError(
            f"{names} cannot be in an ONNX graph, as it has no operations that read dates or words as this model does: "
            f"train without them ({options}), or give what they say as numbers"
        )
    if any(not column.name for column in columns):
        raise EngineError("a column has no name, and an input of an ONNX graph needs one: name it and train again")


class _Graph:
    """Collects the nodes and the constants of a graph.

    Args:
        columns: names of the inputs, which no other value may have.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = frozenset(columns)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._n_values = 0

    def free_name(self, name: str) -> str:
        """Return a name that no column has."""
        while name in self.columns:
            name += "_"
        return name

    def _value(self) -> str:
        self._n_values += 1
        return self.free_name(f"value_{self._n_values}")

    def constant(self, array: Any, dtype: Any = None) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        name = self._value()
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def add(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node of one output and return its name."""
        from onnx import helper

        name = self._value()
        self.nodes.append(helper.make_node(kind, list(inputs), [name], domain=domain, **attributes))
        return name

    def cast(self, value: str, dtype: Any) -> str:
        """Add a change of type."""
        from onnx import helper

        return self.add("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def joined(self, values: Sequence[str]) -> str:
        """Add what is side by side, `(n, sum of widths)`."""
        return values[0] if len(values) == 1 else self.add("Concat", *values, axis=1)


class _Rows:
    """The inputs of all models: numbers, `(n, n_numbers)`, whether each is missing, and codes, `(n,)` each."""

    def __init__(self, graph: _Graph, columns: Sequence[Column]) -> None:
        numbers = [column.name for column in columns if column.n_numbers]
        self.numbers = graph.joined(numbers) if numbers else None
        self.is_missing = None if self.numbers is None else graph.add("IsNaN", self.numbers)
        self.codes = [_codes(graph, column) for column in columns if column.n_codes]


def _codes(graph: _Graph, column: Column) -> str:
    """Add the codes of a column, `(n,)`, int64."""
    missing, unknown = column.n_codes - 2, column.n_codes - 1
    if isinstance(column, IntegerCode):
        levels = np.array([[float(level) for level in column.levels]])
        is_level = graph.cast(graph.add("Equal", column.name, graph.constant(levels)), np.float64)
        steps = graph.constant(np.arange(levels.size, dtype=np.float64)[:, None] - unknown)
        code = graph.add("Add", graph.add("MatMul", is_level, steps), graph.constant(float(unknown)))
        code = graph.add("Where", graph.add("IsNaN", column.name), graph.constant(float(missing)), code)
        return graph.add("Reshape", graph.cast(code, np.int64), graph.constant([-1], np.int64))
    if isinstance(column, Boolean):
        code_of = _code_of_truth()
    else:
        assert isinstance(column, Category)
        code_of = {"": missing, **{level: code for code, level in enumerate(column.levels)}}
    text = graph.add("Reshape", column.name, graph.constant([-1], np.int64))
    return graph.add(
        "LabelEncoder", text, domain="ai.onnx.ml", default_int64=unknown, keys_strings=list(code_of),
        values_int64s=list(code_of.values()),
    )  # fmt: skip


def _code_of_truth() -> dict[str, int]:
    """Return the code of each word for a truth value or a missing one, in small letters, capitals, and one capital."""
    codes: dict[str, int] = {}
    words = ((MISSING_WORDS, 2), ({*FALSE_WORDS, "0", "0.0"}, 0), ({*TRUE_WORDS, "1", "1.0"}, 1))
    for some, code in words:
        for word in sorted(some):
            codes |= dict.fromkeys((word, word.upper(), word.capitalize()), code)
    return codes | {"NaN": 2, "NaT": 2}


# -- networks ----------------------------------------------------------------------------------------------------------


def _network_logits(graph: _Graph, network: Network, rows: _Rows) -> str:
    """Add the logits of a network, `(n, n_outputs)`, float64."""
    encoding, statistics = network.encoding, network.statistics()
    assert statistics is not None  # networks of configs have `standardize`
    instructions, last = instructions_of(network)
    values = {0: _encoded(graph, network, statistics, rows)}
    for instruction in instructions:
        sources = [values[source] for source in instruction.sources]
        if instruction.kind == EMBED:
            n_rows = encoding.vector_rows
            table = instruction.weight.reshape(n_rows, -1) if n_rows else instruction.weight
            vectors = [_vectors(graph, network, statistics, rows, place, table) for place in encoding.learned]
            values[instruction.result] = graph.joined([*sources, *vectors])
        else:
            values[instruction.result] = _operation(instruction)(graph, instruction, sources)
    return graph.cast(values[last], np.float64)


def _standardized(cells: FloatArray, center: FloatArray, scale: FloatArray) -> NDArray[np.float32]:
    """Return what a network sees of cells; 0 where one is NaN."""
    values = np.clip((cells - center) * scale, -MAX_DEVIATIONS, MAX_DEVIATIONS)
    return np.where(np.isnan(values), 0.0, values).astype(np.float32)


def _encoded(graph: _Graph, network: Network, statistics: Statistics, rows: _Rows) -> str:
    """Add the standardized columns of a network, float32, without those that hold rows of learned vectors."""
    encoding, center, scale = network.encoding, statistics.center, statistics.scale
    n, parts = len(encoding.numbers), []
    if rows.numbers is not None:
        fill = statistics.fill if len(statistics.fill) else np.full(n, np.nan)
        moved = graph.add("Mul", graph.add("Sub", rows.numbers, graph.constant(center[:n])), graph.constant(scale[:n]))
        limits = (graph.constant(sign * MAX_DEVIATIONS, np.float64) for sign in (-1, 1))
        number = graph.cast(graph.add("Clip", moved, *limits), np.float32)
        filled = graph.constant(_standardized(fill, center[:n], scale[:n]))
        parts.append(graph.add("Where", rows.is_missing or "", filled, number))
    column = n + len(encoding.missing)
    if encoding.missing:
        of_missing = graph.add("Gather", rows.is_missing or "", graph.constant(encoding.missing, np.int64), axis=1)
        own = slice(n, column)
        ends = (graph.constant(_standardized(np.full(column - n, end), center[own], scale[own])) for end in (1.0, 0.0))
        parts.append(graph.add("Where", of_missing, *ends))
    for place, category in enumerate(encoding.categories):
        start, end = encoding.lookup_starts[place : place + 2]
        own = slice(column, column + category.width)
        lookup = _standardized(statistics.lookup[start:end].reshape(category.shape), center[own], scale[own])
        parts.append(graph.add("Gather", graph.constant(lookup), rows.codes[place], axis=0))
        column += category.width
    return graph.joined(parts)


def _vectors(
    graph: _Graph, network: Network, statistics: Statistics, rows: _Rows, place: int, table: FloatArray
) -> str:
    """Add the learned vectors of a category, `(n, length)`; zeros where a code has none."""
    start, end = network.encoding.code_starts[place : place + 2]
    row = statistics.vector_row[start:end].astype(np.int64)
    vectors = np.where((row > NO_ROW)[:, None], table[np.maximum(row, 0)], 0.0)
    return graph.add("Gather", graph.constant(vectors, np.float32), rows.codes[place], axis=0)


def _linear(graph: _Graph, own: Instruction, sources: Sequence[str]) -> str:
    weight, bias = graph.constant(own.weight, np.float32), graph.constant(own.bias, np.float32)
    return graph.add("Gemm", sources[0], weight, bias)


def _affine(graph: _Graph, own: Instruction, sources: Sequence[str]) -> str:
    gain, shift = graph.constant(own.weight, np.float32), graph.constant(own.bias, np.float32)
    return graph.add("Add", graph.add("Mul", sources[0], gain), shift)


def _bins(graph: _Graph, own: Instruction, sources: Sequence[str]) -> str:
    column, lower, inverse = own.weight.reshape(3, -1)
    cells = graph.add("Gather", sources[0], graph.constant(column, np.int64), axis=1)
    moved = graph.add("Sub", cells, graph.constant(lower, np.float32))
    rise = graph.add("Mul", moved, graph.constant(inverse, np.float32))
    limits = (graph.constant(limit, np.float32) for limit in (0.0, 1.0))
    return graph.joined([graph.add("Clip", rise, *limits), sources[0]])


def _gelu(graph: _Graph, own: Instruction, sources: Sequence[str]) -> str:
    scaled = graph.add("Mul", sources[0], graph.constant(np.sqrt(0.5), np.float32))
    half = graph.constant(0.5, np.float32)
    share = graph.add("Add", graph.add("Mul", graph.add("Erf", scaled), half), half)
    return graph.add("Mul", sources[0], share)


def _mish(graph: _Graph, own: Instruction, sources: Sequence[str]) -> str:
    return graph.add("Mul", sources[0], graph.add("Tanh", graph.add("Softplus", *sources)))


_OPERATIONS: dict[int, Callable[[_Graph, Instruction, Sequence[str]], str]] = {
    LINEAR: _linear,
    AFFINE: _affine,
    PIECEWISE_LINEAR: _bins,
    ADD: lambda graph, own, sources: graph.add("Add", *sources),
    OPS["relu"].code: lambda graph, own, sources: graph.add("Relu", *sources),
    OPS["leaky_relu"].code: lambda graph, own, sources: graph.add("LeakyRelu", *sources, alpha=own.constants[0]),
    OPS["tanh"].code: lambda graph, own, sources: graph.add("Tanh", *sources),
    OPS["sigmoid"].code: lambda graph, own, sources: graph.add("Sigmoid", *sources),
    OPS["silu"].code: lambda graph, own, sources: graph.add("Mul", sources[0], graph.add("Sigmoid", *sources)),
    OPS["gelu"].code: _gelu,
    OPS["mish"].code: _mish,
    OPS["selu"].code: lambda graph, own, sources: graph.add("Selu", *sources),
}


def _operation(instruction: Instruction) -> Callable[[_Graph, Instruction, Sequence[str]], str]:
    """Return what adds the nodes of an operation."""
    if instruction.kind not in _OPERATIONS:
        name = next(name for name, spec in OPS.items() if spec.code == instruction.kind)
        raise EngineError(f"the operation {name!r} cannot be in an ONNX graph yet: train without it")
    return _OPERATIONS[instruction.kind]


# -- trees -------------------------------------------------------------------------------------------------------------


def _tree_logits(graph: _Graph, trees: Trees, rows: _Rows) -> str:
    """Add the logits of boosted trees, `(n, n_outputs)`, float64."""
    parts = [] if rows.numbers is None else [rows.numbers]
    for place, codes in enumerate(rows.codes):
        start, end = trees.code_starts[place : place + 2]
        groups = graph.constant(trees.group[start:end, None], np.float64)
        parts.append(graph.add("Gather", groups, codes, axis=0))
    baseline = graph.constant(trees.baseline)
    if not len(trees.roots):  # one leaf, as a node without trees is not allowed
        zero = np.zeros(1, dtype=np.int32)
        trees = replace(trees, roots=zero, outputs=zero, right=zero, feature=zero, split=zero, number=np.zeros(1))
    attributes = _tree_attributes(trees)
    values = graph.add("TreeEnsemble", graph.joined(parts), domain="ai.onnx.ml", **attributes)
    return graph.add("Add", values, baseline)


def _tree_attributes(trees: Trees) -> dict[str, Any]:
    """Return trees as attributes of a `TreeEnsemble`, which numbers nodes that split, and leaves, apart."""
    from onnx import numpy_helper

    is_leaf = trees.right == 0
    alone = is_leaf[trees.roots]  # trees of one leaf, which need a node that splits: both of its sides are the leaf
    nodes, leaves = np.flatnonzero(~is_leaf), np.flatnonzero(is_leaf)
    place = np.where(is_leaf, np.cumsum(is_leaf) - 1, np.cumsum(~is_leaf) - 1)
    members, is_swapped = _members(trees, nodes)
    left, right = nodes + 1, trees.right[nodes].astype(np.int64)
    true, false = np.where(is_swapped, right, left), np.where(is_swapped, left, right)
    n_alone = int(alone.sum())
    roots = place[trees.roots].copy()
    roots[alone] = len(nodes) + np.arange(n_alone)
    single = trees.roots[alone]
    true, false = np.append(true, single), np.append(false, single)
    is_number = np.append(trees.split[nodes] < 0, np.ones(n_alone, dtype=bool))
    splits = np.append(np.where(trees.split[nodes] < 0, trees.number[nodes], 0.0), np.zeros(n_alone))
    modes = np.where(is_number, LEAF_BELOW, ANY_OF).astype(np.uint8)
    target_of_tree = np.repeat(trees.outputs, np.diff(np.append(trees.roots, len(trees.right))))
    attributes: dict[str, Any] = {
        "tree_roots": roots.tolist(),
        "nodes_featureids": np.append(trees.feature[nodes], np.zeros(n_alone, np.int64)).astype(np.int64).tolist(),
        "nodes_modes": numpy_helper.from_array(modes),
        "nodes_splits": numpy_helper.from_array(splits.astype(np.float64)),
        "nodes_truenodeids": place[true].tolist(),
        "nodes_trueleafs": is_leaf[true].astype(int).tolist(),
        "nodes_falsenodeids": place[false].tolist(),
        "nodes_falseleafs": is_leaf[false].astype(int).tolist(),
        "nodes_missing_value_tracks_true": np.append(
            trees.split[nodes] == MISSING_LEFT, np.zeros(n_alone, dtype=bool)
        ).astype(int).tolist(),
        "leaf_targetids": target_of_tree[leaves].astype(int).tolist(),
        "leaf_weights": numpy_helper.from_array(trees.number[leaves]),
        "n_targets": trees.n_outputs,
        "aggregate_function": 1,  # the sum
        "post_transform": 0,  # none
    }  # fmt: skip
    if len(members):
        attributes["membership_values"] = numpy_helper.from_array(members)
    return attributes


def _members(trees: Trees, nodes: NDArray[np.int64]) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return the groups that each category split sends to one side, NaN after each set, and where it is the right one.

    Of the groups that there are, the smaller set is listed.
    """
    values: list[FloatArray] = []
    is_swapped = np.zeros(len(nodes), dtype=bool)
    existing = [
        np.unique(trees.group[start:end])
        for start, end in zip(trees.code_starts[:-1], trees.code_starts[1:], strict=True)
    ]
    for number in np.flatnonzero(trees.split[nodes] >= 0):
        node = nodes[number]
        groups = existing[trees.feature[node] - trees.n_numbers]
        goes_left = trees.levels[trees.split[node], groups]
        is_swapped[number] = not 0 < goes_left.sum() <= len(groups) / 2
        listed_groups = groups[~goes_left if is_swapped[number] else goes_left]
        values.append(np.append(listed_groups.astype(np.float64), np.nan))
    return np.concatenate(values) if values else np.empty(0), is_swapped


# -- from logits to classes --------------------------------------------------------------------------------------------


def _probabilities(graph: _Graph, predictor: Predictor, rows: _Rows) -> str:
    """Add the calibrated mean of all members' probabilities, `(n, n_classes)`, float64."""
    weighted = []
    for model, weight in zip(predictor.models, predictor.weights.tolist(), strict=True):
        logits = _tree_logits(graph, model, rows) if isinstance(model, Trees) else _network_logits(graph, model, rows)
        if model.n_outputs == 1:
            proba = graph.add("Sigmoid", graph.joined([graph.add("Neg", logits), logits]))
        else:
            proba = graph.add("Softmax", logits, axis=1)
        weighted.append(graph.add("Mul", proba, graph.constant(weight, np.float64)))
    mean = weighted[0] if len(weighted) == 1 else graph.add("Sum", *weighted)
    calibrator = predictor.calibrator
    if calibrator.method == NONE:
        return mean
    log = graph.add("Log", graph.add("Max", mean, graph.constant(TINY)))
    scaled = graph.add("Mul", log, graph.constant(calibrator.scale))
    return graph.add("Softmax", graph.add("Add", scaled, graph.constant(calibrator.shift)), axis=1)


def _labels(graph: _Graph, predictor: Predictor, probabilities: str) -> str:
    """Add the predicted class of each row, `(n,)`: the most probable, or by the threshold."""
    schema, threshold = predictor.schema, predictor.decision_rule.threshold
    if threshold is None or schema.positive is None:
        code = graph.add("ArgMax", probabilities, axis=1, keepdims=0)
    else:
        proba = graph.add("Gather", probabilities, graph.constant(schema.positive, np.int64), axis=1)
        is_positive = graph.add("GreaterOrEqual", proba, graph.constant(threshold))
        ends = (graph.constant(end, np.int64) for end in (schema.positive, 1 - schema.positive))
        code = graph.add("Where", is_positive, *ends)
    labels = np.array(schema.classes)
    return graph.add("Gather", graph.constant(labels.astype(object) if labels.dtype.kind == "U" else labels), code)


def _label_type(classes: Sequence[Any]) -> int:
    """Return the type of the labels in ONNX."""
    from onnx import TensorProto, helper

    dtype = np.array(classes).dtype
    return int(TensorProto.STRING if dtype.kind == "U" else helper.np_dtype_to_tensor_dtype(dtype))
