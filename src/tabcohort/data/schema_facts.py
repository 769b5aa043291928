"""A schema as plain JSON values, and back."""

from __future__ import annotations

from typing import Any

from tabcohort.data.columns import column_from_dict
from tabcohort.data.table import Schema
from tabcohort.plain_values import PlainValues
from tabcohort.types import Label


def schema_facts(schema: Schema) -> dict[str, Any]:
    """Return a schema as plain JSON values.

    Returns:
        `features`: names of the columns that are used; `columns`: what `Column.to_dict` gives for each; `dropped`: the
        same for those that were left out; `target`; `classes`; `positive`: the place of the positive class, or null;
        `keys`; `groups`.
    """
    return {
        "features": list(schema.features),
        "columns": [column.to_dict() for column in schema.columns],
        "dropped": [column.to_dict() for column in schema.dropped],
        "target": schema.target,
        "classes": list(schema.classes),
        "positive": schema.positive,
        "keys": list(schema.keys),
        "groups": list(schema.groups),
    }


def schema_from_facts(values: PlainValues) -> Schema:
    """Return the schema that `schema_facts` described.

    Args:
        values: of the JSON document.

    Raises:
        ValueError: names or classes are repeated, or the positive class is not among them.
    """
    columns, dropped = (
        tuple(column_from_dict(column.values) for column in values.children(name)) for name in ("columns", "dropped")
    )
    features, classes = [column.name for column in columns], _classes(values)
    if len(set(features)) != len(features) or not features:
        raise ValueError("its schema has no features, or repeated names")
    positive = None if values.is_null("positive") else values.whole("positive", high=len(classes) - 1)
    if positive is None and len(classes) == 2:
        raise ValueError("neither of its two classes is the positive one")
    keys, groups = values.texts("keys"), values.texts("groups")
    return Schema(columns, values.text("target"), classes, positive, keys, groups, dropped)


def _classes(values: PlainValues) -> tuple[Label, ...]:
    """Return the labels of the classes: all texts, all numbers or all booleans, each another."""
    classes = values.get("classes")
    kinds = {type(label) for label in classes} if isinstance(classes, list) else set()
    if kinds not in ({str}, {bool}, {int}, {float}, {int, float}):
        raise ValueError(f"{values.path}.classes must be a list of texts, of numbers, or of true and false")
    if len(set(classes)) != len(classes) or len(classes) < 2:
        raise ValueError(f"{values.path}.classes has a class twice, or fewer than two classes")
    return tuple(classes)
