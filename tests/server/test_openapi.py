"""The OpenAPI document says what the server does."""

from __future__ import annotations

from typing import Any

from asking import Server


def references(value: Any) -> list[str]:
    """Return all references in a document."""
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [ref for item in value.values() for ref in references(item)]
    return [ref for item in value for ref in references(item)] if isinstance(value, list) else []


def test_every_reference_leads_somewhere_and_every_address_is_named(server: Server) -> None:
    client = server("two", "mixed")
    document = client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    for reference in references(document):
        place = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
    served = {route.path for route in client.app.routes if hasattr(route, "path")}  # type: ignore[attr-defined]
    pages = {
        path for path in served if path.startswith(("/models/", "/static/")) or path in ("/", "/docs", "/openapi.json")
    }
    assert set(document["paths"]) == served - pages


def test_the_models_and_their_columns_are_in_it(server: Server) -> None:
    client = server("two", "mixed")
    document = client.get("/openapi.json").json()
    (name,) = document["paths"]["/v1/models/{name}/predict"]["parameters"]
    assert name["schema"]["enum"] == ["mixed", "two"]
    record = document["components"]["schemas"]["Record-mixed"]
    assert record == client.get("/v1/models/mixed").json()["record_schema"]
    examples = document["paths"]["/v1/models/{name}/predict"]["post"]["requestBody"]["content"]["application/json"][
        "examples"
    ]
    for own, example in examples.items():
        assert client.post(f"/v1/models/{own}/predict", json=example["value"]).status_code == 200


def test_keys_are_named_where_they_are_asked_for(server: Server) -> None:
    key = "a-key-of-enough-characters"
    client = server(keys=(key,))
    document = client.get("/openapi.json", headers={"authorization": f"Bearer {key}"}).json()
    assert document["security"] == [{"key": []}, {"password": []}]
