"""What each column contributes to the answers for records."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from tabcohort.data.frames import MAX_LABEL_LENGTH
from tabcohort.errors import TableError, listed
from tabcohort.model.explain import code_of, explanation_facts
from tabcohort.server.model_store import ServedModel
from tabcohort.server.problems import Problem
from tabcohort.server.record_input import Record
from tabcohort.types import FloatArray, Label


def explain_records(
    model: ServedModel, records: Sequence[Record], X: FloatArray, label: Any, top: int | None, is_quick: bool = False
) -> list[dict[str, Any]]:
    """Return what each column contributes to the predictions for records, as plain JSON values.

    Args:
        model: that answers.
        records: as they were asked for.
        X: their inputs, `(n_records, n_inputs)`.
        label: of the class whose score is explained; the positive one of two, or the predicted, if None.
        top: how many columns, those with the largest contributions; all if None.
        is_quick: whether fewer permutations are enough.

    Raises:
        Problem: 409, there are no rows to compare with; 422, there is no such class.
    """
    explainer = model.quick_explainer if is_quick else model.explainer
    if explainer is None:
        raise Problem(
            HTTPStatus.CONFLICT,
            "an explanation compares a record with other rows, and the server has none of this model's columns: "
            "start it with --background TABLE",
        )
    classes = model.predictor.schema.classes
    if len(str(label)) > MAX_LABEL_LENGTH:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "'class' is longer than a label can be")
    chosen = None if label is None else _class_of(label, classes)
    answers = []
    for record, row in zip(records, X, strict=True):
        cells = [[record[name]] for name in model.predictor.schema.features]
        explanation = explainer.explain_rows(row[None], cells)[0]
        own = model.predictor.class_to_explain(explanation) if chosen is None else chosen
        facts = explanation_facts(explanation, own)
        answers.append({**facts, "columns": facts["columns"][:top]})
    return answers


def _class_of(label: Any, classes: Sequence[Label]) -> Label:
    """Return the class that a request means: by its label, or by this as text.

    Raises:
        Problem: 422, there is none.
    """
    if isinstance(label, str) or any(type(label) is type(own) for own in classes):
        with contextlib.suppress(TableError):
            return classes[code_of(label, classes)]
    raise Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"'class' must be a class of the model, or left out; there are {listed(classes, 20)}",
    )
