"""Arguments checked before anything is sent."""

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falq.errors import ArgumentsError
from falq.schema.checking import check_arguments, problems, with_required_defaults
from falq.schema.normal_form import self_contained

SCHEMA = self_contained(
    {
        "type": "object",
        "required": ["prompt"],
        "properties": {
            "prompt": {"type": "string", "maxLength": 20},
            "num_images": {"type": "integer", "minimum": 1, "maximum": 4},
            "output_format": {"type": "string", "enum": ["jpeg", "png"]},
            "duration": {"type": "string", "enum": ["5", "10"]},
            "image_url": {"type": "string", "minLength": 15},
            "seed": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "image_size": {
                "anyOf": [{"$ref": "#/components/schemas/Size"}, {"enum": ["square", "wide"]}]
            },
            "loras": {"type": "array", "items": {"$ref": "#/components/schemas/Lora"}},
        },
    },
    {
        "Size": {
            "type": "object",
            "properties": {"width": {"type": "integer", "exclusiveMinimum": 0}},
        },
        "Lora": {
            "type": "object",
            "required": ["path"],
            "properties": {"path": {"type": "string"}, "scale": {"type": "number", "maximum": 4}},
        },
    },
)


def refusal(**arguments):
    with pytest.raises(ArgumentsError) as caught:
        check_arguments({"prompt": "x", **arguments}, SCHEMA)
    return str(caught.value)


def test_fitting_arguments_pass_without_a_word():
    sizes = ({"width": 3}, "square")
    for size in sizes:
        found = check_arguments({"prompt": "x", "image_size": size, "seed": None}, SCHEMA)
        assert found == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_images": 9}, ["num_images: got 9", "an integer from 1 to 4"]),
        ({"num_images": "2"}, ['num_images: got "2"', "an integer from 1 to 4"]),
        ({"num_images": True}, ["num_images: got true"]),
        ({"output_format": "jpg"}, ['one of "jpeg", "png"', 'did you mean "jpeg"?']),
        ({"duration": 5}, ["duration: got 5", 'did you mean "5"?']),
        ({"image_size": "squre"}, ["image_size", 'did you mean "square"?', "{width}"]),
        ({"image_size": {"width": 0}}, ["image_size.width: got 0", "above 0"]),
        ({"loras": [{"path": "p"}, {"scale": 9}]}, ["loras[1].path", "required", "loras[1].scale"]),
        (
            {"num_image": 1},
            ["`num_image` is not a field of this model", "did you mean num_images?"],
        ),
        ({"prompt": "y" * 21}, ["prompt", "text of at most 20 characters"]),
        (
            {"loras": [{"path": "p", "scal": 1}]},
            ["`loras[0].scal` is not a field of this model", "did you mean scale?"],
        ),
        ({"image_size": {"widht": 8}}, ["`image_size.widht`", "did you mean width?"]),
    ],
)
def test_a_refusal_names_field_value_and_expectation(arguments, words):
    message = refusal(**arguments)
    for word in words:
        assert word in message


def test_a_missing_required_field_is_named():
    with pytest.raises(ArgumentsError, match="`prompt` is required"):
        check_arguments({}, SCHEMA)


def test_what_is_no_object_is_refused():
    with pytest.raises(ArgumentsError, match="arguments: got"):
        check_arguments(["prompt"], SCHEMA)


def test_unknown_fields_far_from_known_ones_only_warn():
    warnings = check_arguments({"prompt": "x", "zzz": 1}, SCHEMA)
    assert len(warnings) == 1
    assert "zzz" in warnings[0]


def test_unknown_keys_inside_only_warn_where_nothing_is_near():
    warnings = check_arguments({"prompt": "x", "loras": [{"path": "p", "zzz": 1}]}, SCHEMA)
    assert [warning.split()[0] for warning in warnings] == ["'loras[0].zzz'"]


def test_keys_of_an_object_with_several_forms_are_left_alone():
    forms = [{"type": "object", "properties": {name: {}}} for name in ("width", "widths")]
    schema = {"properties": {"size": {"anyOf": forms}}}
    assert check_arguments({"size": {"widths": 1}}, schema) == []


def test_a_data_uri_is_never_repeated():
    message = refusal(num_images="data:image/png;base64," + "A" * 5000)
    assert "AAAA" not in message
    assert len(message) < 300


def test_a_local_path_in_a_media_field_counts_as_uploaded():
    assert check_arguments({"prompt": "x", "image_url": "a.png"}, SCHEMA) == []


@pytest.mark.parametrize(
    ("path", "warned"),
    [("a.wav", True), ("a.PNG", False), ("https://h/a.wav", False), ("a", False)],
)
def test_a_local_file_of_another_kind_is_warned_of(path, warned):
    warnings = check_arguments({"prompt": "x", "image_url": path}, SCHEMA)
    assert bool(warnings) is warned
    assert all("image_url takes a file of kind image" in warning for warning in warnings)


def test_required_fields_with_a_default_are_filled_in():
    schema = {"required": ["mode"], "properties": {"mode": {"default": "a"}, "n": {"default": 1}}}
    assert with_required_defaults({}, schema) == {"mode": "a"}
    assert with_required_defaults({"mode": "b"}, schema) == {"mode": "b"}


def test_a_pattern_of_the_document_is_not_run():
    evil = {"properties": {"a": {"type": "string", "pattern": "(a+)+$"}}}
    assert check_arguments({"a": "a" * 40 + "!"}, evil) == []


scalars = st.none() | st.booleans() | st.integers(-3, 12) | st.sampled_from(["", "a", "bb", 0.5])
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=6,
)
bounds = st.integers(0, 10)
leaf_schemas = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(
            ["string", "integer", "number", "boolean", "array", "object", ["string", "null"]]
        ),
        "enum": st.lists(scalars, min_size=1, max_size=3),
        "const": scalars,
        "minimum": bounds,
        "exclusiveMaximum": bounds,
        "multipleOf": st.sampled_from([1, 2, 0.5]),
        "minLength": bounds,
        "maxItems": bounds,
        "uniqueItems": st.booleans(),
    },
)
schemas = st.recursive(
    leaf_schemas,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
            "required": st.lists(st.sampled_from("abc"), max_size=2),
            "additionalProperties": st.booleans() | inner,
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "$ref": st.just("#/components/schemas/Leaf"),
        },
    ),
    max_leaves=5,
)


@settings(max_examples=200)
@given(schemas, leaf_schemas, values)
def test_the_verdict_is_that_of_jsonschema(schema, leaf, value):
    normal = self_contained(schema, {"Leaf": leaf})
    expected = jsonschema.Draft202012Validator(normal).is_valid(value)
    assert (not problems(value, normal)) is expected
