"""A schema as JSON, and back."""

from __future__ import annotations

import json

import pytest
from streamed_tables import labelled_frame

from tabcohort import Table
from tabcohort.data.schema_facts import schema_facts, schema_from_facts
from tabcohort.plain_values import plain_values


@pytest.mark.filterwarnings("ignore::tabcohort.TabcohortWarning")
def test_a_schema_survives_json() -> None:
    schema = Table.from_frame(labelled_frame(), "target", keys=["code"], types={"count": "drop"}).schema
    document = json.loads(json.dumps(schema_facts(schema)))
    assert schema_from_facts(plain_values(document, "schema")) == schema


@pytest.mark.filterwarnings("ignore::tabcohort.TabcohortWarning")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": []}, "no features"),
        ({"positive": None}, "neither of its two classes"),
        ({"classes": ["yes", "yes"]}, "a class twice"),
    ],
)
def test_an_impossible_schema_is_refused(changes: dict[str, object], message: str) -> None:
    document = {**schema_facts(Table.from_frame(labelled_frame(), "target").schema), **changes}
    with pytest.raises(ValueError, match=message):
        schema_from_facts(plain_values(document, "schema"))
