"""Reading a model's OpenAPI document: paths, references, dialects, hostile content."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.errors import ModelError
from falq.schema.document import document_sha256, read_document
from falq.schema.fields import read_fields
from falq.schema.lock import LockedPrice, SchemaLock
from falq.schema.normal_form import self_contained

MODEL_ID = "acme/pic/fast"


def document(properties, *, required=(), components=None, output=None):
    given_schema = {"type": "object", "properties": properties, "required": list(required)}
    body = {"application/json": {"schema": {"$ref": "#/components/schemas/TheTakes"}}}
    made = {"application/json": {"schema": output or {"type": "object"}}}
    return {
        "openapi": "3.0.4",
        "components": {
            "schemas": {
                "TheTakes": given_schema,
                "DecoyInput": {"properties": {"wrong": {}}},
                **(components or {}),
            }
        },
        "paths": {
            f"/{MODEL_ID}": {"post": {"requestBody": {"content": body}}},
            f"/{MODEL_ID}/requests/{{request_id}}": {
                "get": {"responses": {"200": {"content": made}}}
            },
        },
    }


def fields_of(properties, **more):
    found = read_fields(read_document(MODEL_ID, document(properties, **more)).input)
    return {field.name: field for field in found}


def test_the_input_is_found_by_reference_and_not_by_its_name():
    assert list(fields_of({"prompt": {"type": "string"}})) == ["prompt"]


def test_every_way_to_say_nullable_means_the_same():
    ways = {
        "new": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "old": {"type": "integer", "nullable": True},
        "listed": {"type": ["integer", "null"]},
    }
    for field in fields_of(ways).values():
        assert (field.kind, field.nullable) == ("integer", True)


def test_a_nullable_reference_of_the_old_dialect_is_an_object_or_null():
    size = {"type": "object", "properties": {"width": {"type": "integer"}}}
    schema = {"allOf": [{"$ref": "#/components/schemas/Size"}], "nullable": True}
    field = fields_of({"size": schema}, components={"Size": size})["size"]
    assert (field.kind, field.nullable) == ("object", True)
    assert [part.name for part in field.properties] == ["width"]


def test_an_old_exclusive_flag_becomes_the_bound_itself():
    strict = {"type": "number", "minimum": 0, "exclusiveMinimum": True}
    field = fields_of({"scale": strict})["scale"]
    assert (field.exclusive_minimum, field.minimum) == (0, None)


def test_what_stands_beside_a_reference_wins():
    inner = {"type": "string", "description": "general"}
    outer = {"$ref": "#/components/schemas/Word", "description": "special", "default": "x"}
    field = fields_of({"word": outer}, components={"Word": inner})["word"]
    assert (field.description, field.default, field.kind) == ("special", "x", "string")


def test_object_or_preset_keeps_both_sides():
    size = {"type": "object", "properties": {"width": {}, "height": {}}}
    both = {"anyOf": [{"$ref": "#/components/schemas/Size"}, {"enum": ["square", "wide"]}]}
    field = fields_of({"image_size": both}, components={"Size": size})["image_size"]
    assert field.kinds == ("object", "string")
    assert field.choices == ("square", "wide")
    assert not field.closed


def test_recursive_components_are_kept_and_end():
    node = {"properties": {"child": {"$ref": "#/components/schemas/Node"}}}
    schema = read_document(
        MODEL_ID,
        document({"tree": {"$ref": "#/components/schemas/Node"}}, components={"Node": node}),
    ).input
    assert read_fields(schema)[0].name == "tree"
    assert "Node" in schema["$defs"]


def test_a_component_that_only_refers_to_itself_admits_everything():
    loop = {"$ref": "#/components/schemas/Loop"}
    field = fields_of({"odd": loop}, components={"Loop": loop})["odd"]
    assert field.kind == "any"


def test_foreign_references_and_ids_leave_nothing_to_fetch():
    hostile = {
        "$id": "https://attacker.invalid/",
        "$schema": "https://attacker.invalid/schema",
        "properties": {"a": {"$ref": "https://attacker.invalid/a.json"}, "b": {"$ref": "#/x"}},
    }
    assert self_contained(hostile, {}) == {"properties": {"a": {}, "b": {}}}


@pytest.mark.parametrize(
    "document", [None, [], {}, {"paths": {}}, {"error": {"message": "expansion failed"}}]
)
def test_a_document_without_an_input_is_refused_by_model_id(document):
    with pytest.raises(ModelError, match=MODEL_ID):
        read_document(MODEL_ID, document)


def test_the_hash_does_not_depend_on_the_order_of_keys():
    assert document_sha256({"a": 1, "b": 2}) == document_sha256({"b": 2, "a": 1})


def test_half_characters_are_replaced():
    assert list(fields_of({"a\ud800": {"type": "string"}})) == ["a?"]


def test_a_lock_survives_its_json_form():
    price = LockedPrice(unit_price=0.025, unit="image", currency="USD", checked_on="2026-08-01")
    schema = read_document(MODEL_ID, document({"n": {"type": "integer", "default": 3}}))
    lock = SchemaLock(model_id=MODEL_ID, schema=schema, locked_on="2026-08-01", price=price)
    shown = json.loads(json.dumps(lock.to_dict()))
    assert SchemaLock.from_dict(shown) == lock
    assert shown["defaults"] == {"n": 3}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
KEYWORDS = (
    "type enum minimum anyOf allOf properties items required default $ref nullable title ui "
    "exclusiveMinimum examples description x-fal-order-properties maxLength additionalProperties"
)
keywords = st.sampled_from(KEYWORDS.split())
garbage = st.dictionaries(keywords, json_values | st.just("#/components/schemas/G"), max_size=6)


@given(st.dictionaries(st.text(max_size=6), garbage, max_size=4), garbage)
def test_no_malformed_document_breaks_the_reader(properties, component):
    schema = read_document(MODEL_ID, document(properties, components={"G": component})).input
    assert {field.name for field in read_fields(schema)} == set(properties)
