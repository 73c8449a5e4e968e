"""Example arguments are realistic and always fit."""

import pytest

from falq.sandbox.catalogue import default_models
from falq.sandbox.model import openapi_document
from falq.schema.checking import check_arguments
from falq.schema.document import read_document
from falq.schema.examples import long_example, short_example

DOCUMENTED = [model for model in default_models() if model.documented]


@pytest.mark.parametrize("model", DOCUMENTED, ids=lambda model: model.model_id)
def test_examples_of_every_sandbox_model_fit_its_schema(model):
    schema = read_document(model.model_id, openapi_document(model)).input
    for example in (short_example(schema), long_example(schema)):
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
    assert short_example(schema) == {"prompt": "a cat"}
    assert long_example(schema) == {"prompt": "a cat", "seed": 42, "size": "m"}


def test_a_media_field_is_shown_with_a_local_file():
    schema = {"required": ["image_url"], "properties": {"image_url": {"type": "string"}}}
    assert short_example(schema) == {"image_url": "./photo.png"}
