"""What changed in a schema, and what of it breaks a caller."""

import pytest

from falq.schema.difference import input_changes, output_changes
from falq.schema.normal_form import self_contained


def schema(properties, required=()):
    given = {"type": "object", "properties": properties, "required": list(required)}
    return self_contained(given, {})


def one_change(before, after, compare=input_changes):
    changes = compare(schema({"x": before}), schema({"x": after}))
    assert len(changes) == 1
    return changes[0]


def test_equal_schemas_have_no_changes():
    given = schema({"a": {"type": "integer", "minimum": 1}})
    assert input_changes(given, given) == []


def test_added_and_removed_fields_are_told():
    old, new = schema({"a": {}, "b": {}}), schema({"b": {}, "c": {}, "d": {}}, ["d"])
    told = {(c.field, c.change, c.breaking) for c in input_changes(old, new)}
    assert told == {("a", "removed", True), ("c", "added", False), ("d", "added", True)}


@pytest.mark.parametrize(
    ("before", "after", "breaking"),
    [
        ({"type": "integer", "maximum": 4}, {"type": "integer", "maximum": 8}, False),
        ({"type": "integer", "maximum": 8}, {"type": "integer", "maximum": 4}, True),
        ({"type": "integer", "minimum": 1}, {"type": "integer", "minimum": 0}, False),
        ({"type": "integer"}, {"type": "number"}, False),
        ({"type": "number"}, {"type": "integer"}, True),
        ({"enum": ["a", "b"]}, {"enum": ["a", "b", "c"]}, False),
        ({"enum": ["a", "b"]}, {"enum": ["a"]}, True),
        ({"type": "string"}, {"enum": ["a"]}, True),
        ({"enum": ["a"]}, {"type": "string"}, False),
        ({"type": "string", "default": "a"}, {"type": "string", "default": "b"}, False),
        ({"type": ["string", "null"]}, {"type": "string"}, True),
    ],
)
def test_narrowing_what_is_taken_breaks_and_widening_does_not(before, after, breaking):
    assert one_change(before, after).breaking is breaking


def test_for_results_it_is_the_other_way_round():
    wider = one_change({"type": "integer"}, {"type": "number"}, output_changes)
    narrower = one_change({"type": "number"}, {"type": "integer"}, output_changes)
    assert (wider.breaking, narrower.breaking) == (True, False)


def test_a_change_reads_as_one_line():
    change = one_change({"type": "integer", "maximum": 8}, {"type": "integer", "maximum": 4})
    assert str(change) == "changed x: an integer up to 8 → an integer up to 4 [breaking]"


def size(width, **more):
    return {"type": "object", "properties": {"width": width}, **more}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            size({"type": "integer"}),
            size({"type": "string"}),
            "changed x.width: an integer → text [breaking]",
        ),
        (
            {"type": "array", "items": size({"type": "integer", "maximum": 8})},
            {"type": "array", "items": size({"type": "integer", "maximum": 4})},
            "changed x[].width: an integer up to 8 → an integer up to 4 [breaking]",
        ),
        (
            size({}),
            size({}, required=["width"]),
            "changed x.width: required [breaking]",
        ),
        (
            {"enum": [*map(str, range(40))]},
            {"enum": [*map(str, range(30)), "new", *map(str, range(31, 40))]},
            'changed x: choices removed: "30"; choices added: "new" [breaking]',
        ),
        ({"enum": [1]}, {"enum": [1, True]}, "changed x: choices added: true"),
    ],
)
def test_a_change_is_told_by_where_it_is(before, after, told):
    assert str(one_change(before, after)) == told


def test_a_change_that_has_no_words_is_told_all_the_same():
    old, new = schema({"x": {"format": "uri"}}), schema({"x": {"format": "date"}})
    assert [c.field for c in input_changes(old, new)] == ["inputs"]


def test_texts_for_people_are_no_change():
    old, new = (schema({"x": {"title": t, "description": t, "examples": [t]}}) for t in "ab")
    assert input_changes(old, new) == []
