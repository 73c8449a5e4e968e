"""Example arguments are realistic and always fit."""

import pytest

from falq.sandbox.catalogue import default_models
from falq.sandbox.model import openapi_document
from falq.schema.checking import check_arguments
from falq.schema.document import read_document
from falq.schema.examples import both_examples

DOCUMENTED = [model for model in default_models() if model.documented]


@pytest.mark.parametrize("model", DOCUMENTED, ids=lambda model: model.model_id)
def test_examples_of_every_sandbox_model_fit_its_schema(model):
    schema = read_document(model.model_id, openapi_document(model)).input
    for example in both_examples(schema):
        assert check_arguments(example, schema) == []


def test_the_short_example_uses_the_schemas_own_words():
    schema = {
        "required": ["prompt"],
        "properties": {
            "prompt": {"type": "string", "examples": ["a cat"]},
            "seed": {"type": "integer"},
            "size": {"type": "string", "enum": ["s", "m"], "default": "s"},
        },
    }
    assert both_examples(schema)[0] == {"prompt": "a cat"}
    assert both_examples(schema)[1] == {"prompt": "a cat", "seed": 42, "size": "m"}


def test_a_media_field_is_shown_with_a_local_file():
    schema = {"required": ["image_url"], "properties": {"image_url": {"type": "string"}}}
    assert both_examples(schema)[0] == {"image_url": "./photo.png"}


def with_option(**option):
    properties = {"prompt": {"type": "string", "examples": ["a cat"]}, "x": option}
    return {"required": ["prompt"], "properties": properties}


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        ({"type": "number", "default": 1, "minimum": 0.5, "maximum": 2}, 1.5),
        ({"type": "number", "default": 0.0004, "exclusiveMinimum": 0, "maximum": 0.01}, 0.0008),
        ({"type": "integer", "default": 1, "maximum": 1}, 0),
        ({"type": "integer", "default": 1000, "maximum": 10000}, 2000),
        ({"type": "integer", "default": 8, "multipleOf": 8}, 16),
        ({"type": "boolean", "default": False}, True),
        ({"type": "string", "default": "a"}, None),
        ({"type": "string", "enum": ["a"], "default": "a"}, None),
    ],
)
def test_an_option_is_shown_with_another_value_than_its_default_or_left_out(option, shown):
    assert both_examples(with_option(**option))[1].get("x") == shown


def test_a_safety_check_is_never_switched_off_in_an_example():
    schema = with_option(type="boolean", default=True)
    schema["properties"]["enable_safety_checker"] = schema["properties"].pop("x")
    assert both_examples(schema)[1] == {"prompt": "a cat"}


def test_long_and_many_lined_examples_are_kept_in_part():
    words = "A lighthouse stands on a cliff.\n\nThe sea is calm there. " * 12
    schema = {"required": ["prompt"], "properties": {"prompt": {"examples": [words]}}}
    shown = both_examples(schema)[0]["prompt"]
    assert 300 < len(shown) <= 400
    assert shown.endswith(".")
    assert shown.isprintable()


def test_addresses_in_an_example_become_files_of_the_users_own():
    loras = [{"path": "https://h.example/a.safetensors", "scale": 1}]
    schema = {
        "required": ["loras", "prompt"],
        "properties": {
            "loras": {"type": "array", "examples": [loras]},
            "prompt": {"type": "string", "examples": ["like https://h.example/v.mp4?a=1 but blue"]},
        },
    }
    assert both_examples(schema)[0] == {
        "loras": [{"path": "./weights.safetensors", "scale": 1}],
        "prompt": "like ./clip.mp4 but blue",
    }


def test_where_no_choice_may_be_shown_a_placeholder_stands():
    schema = {"required": ["x"], "properties": {"x": {"enum": ["evil\n```"]}}}
    short, _ = both_examples(schema, lambda value: "evil" not in str(value))
    assert short == {"x": "VALUE"}


def test_a_zip_of_images_is_an_archive():
    field = {"type": "string", "description": "A zip of at least four images.", "ui": {}}
    schema = {"required": ["images_url"], "properties": {"images_url": field}}
    assert both_examples(schema)[0] == {"images_url": "./images.zip"}
