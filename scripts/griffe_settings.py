"""For the reference of the Python API: the default of a setting is shown, and not the call that also gives its rule.

`model: str = _setting("mlp", "logistic", ...)` has the default "mlp". mkdocs.yml names this file.
"""

from __future__ import annotations

import ast
from typing import Any

import griffe


class SettingDefaults(griffe.Extension):
    """Takes the default of a setting from its declaration, before Griffe makes the parameters of `__init__` of it."""

    def on_attribute_instance(self, *, node: ast.AST | griffe.ObjectNode, attr: griffe.Attribute, **_: Any) -> None:
        value = attr.value
        if isinstance(value, griffe.ExprCall) and str(value.function) == "_setting":
            attr.value = value.arguments[0]
