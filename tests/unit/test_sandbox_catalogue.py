import json
import re
import subprocess
import sys

import pytest
from jsonschema import Draft202012Validator

from falq.sandbox import default_models, hostile_catalogue, synthetic_catalogue
from falq.sandbox.catalogue import Catalogue
from falq.sandbox.model import openapi_document
from falq.sandbox.results import Work, make_output
from falq.sandbox.schema import find_refs
from falq.sandbox.validation import ArgumentChecker

MODELS = default_models()
IDS = [model.model_id for model in MODELS]
# The grammar of fal-api.md §10.
MODEL_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,63}(/[A-Za-z0-9][\w.-]{0,127}){1,9}")


def schema_at(document, operation):
    path = f"/{document['info']['x-fal-metadata']['endpointId']}"
    if operation == "input":
        body = document["paths"][path]["post"]["requestBody"]
    else:
        answers = document["paths"][f"{path}/requests/{{request_id}}"]["get"]["responses"]
        body = answers["200"]
    return {
        **body["content"]["application/json"]["schema"],
        "components": document["components"],
    }


def example_arguments(model):
    return {
        name: schema["examples"][0]
        for name, schema in model.inputs.items()
        if schema.get("examples")
    }


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_each_document_has_the_four_paths_of_fal_and_resolvable_refs(model):
    document = openapi_document(model)
    base = f"/{model.model_id}/requests/{{request_id}}"
    paths = {f"/{model.model_id}", base, f"{base}/status", f"{base}/cancel"}
    assert set(document["paths"]) == paths
    assert set(find_refs(document)) <= set(document["components"]["schemas"])
    assert document["openapi"] == "3.0.4"
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_each_document_accepts_its_own_examples_and_defaults(model):
    document = openapi_document(model)
    root = schema_at(document, "input")
    for schema in model.inputs.values():
        checker = Draft202012Validator({**schema, "components": root["components"]})
        for value in [
            *schema.get("examples", []),
            *([schema["default"]] if "default" in schema else []),
        ]:
            checker.validate(value)
    assert ArgumentChecker(document).problems(example_arguments(model)) == []


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_each_model_gives_the_output_that_its_document_promises(model):
    work = Work(model=model, arguments=example_arguments(model), origin="http://127.0.0.1:1")
    Draft202012Validator(schema_at(openapi_document(model), "output")).validate(make_output(work))


def test_the_catalogue_covers_every_kind_of_model():
    wanted = {
        "text-to-image", "image-to-image", "image-to-video", "text-to-video", "text-to-speech",
        "text-to-audio", "speech-to-text", "text-to-3d", "llm", "training",
    }  # fmt: skip
    assert wanted <= {model.category for model in MODELS}
    assert len(IDS) == len(set(IDS)) >= 14
    assert all(MODEL_ID.fullmatch(name) for name in IDS)


def test_an_id_with_a_fault_stands_for_its_base_model():
    catalogue = Catalogue()
    assert catalogue.find("sandbox/fault/hang").model_id == "sandbox/fault/hang"
    assert catalogue.find("sandbox/tts/turbo/fault/hang").maker == "audio"
    assert catalogue.find("sandbox/unheard-of/fault/hang") is None


def test_a_search_matches_every_word_and_every_filter():
    catalogue = Catalogue()
    found = catalogue.search(q="flux SCHNELL", category="text-to-image", status="active")
    assert {model.model_id for model in found} == {"sandbox/flux/schnell", "fal-ai/flux/schnell"}
    assert [m.model_id for m in catalogue.search(status="deprecated")] == [
        "sandbox/deprecated-model"
    ]


def test_a_synthetic_catalogue_has_distinct_models_with_valid_documents():
    models = synthetic_catalogue(1000)
    assert len({model.model_id for model in models}) == 1000
    assert all(MODEL_ID.fullmatch(model.model_id) for model in models)
    Draft202012Validator.check_schema(schema_at(openapi_document(models[999]), "input"))


def test_hostile_models_are_still_json_and_still_run():
    for model in hostile_catalogue():
        document = json.loads(json.dumps(openapi_document(model)))
        assert ArgumentChecker(document).problems({"prompt": "x"}) == []


@pytest.mark.parametrize(
    ("arguments", "loc", "kind", "ctx"),
    [
        ({}, ["body", "prompt"], "missing", None),
        ({"prompt": 5}, ["body", "prompt"], "string_type", None),
        ({"prompt": "x", "num_images": 9}, ["body", "num_images"], "less_than_equal", {"le": 4}),
        ({"prompt": "x", "num_images": 0}, ["body", "num_images"], "greater_than_equal", {"ge": 1}),
        (
            {"prompt": "x", "output_format": "bmp"},
            ["body", "output_format"],
            "literal_error",
            {"expected": "'jpeg' or 'png'"},
        ),
        (
            {"prompt": "x", "image_size": {"width": 0}},
            ["body", "image_size", "width"],
            "greater_than",
            {"gt": 0},
        ),
        ({"prompt": "x", "loras": [{}]}, ["body", "loras", 0, "path"], "missing", None),
        ({"prompt": "[[policy]]"}, ["body", "prompt"], "content_policy_violation", None),
        ([], ["body"], "model_attributes_type", None),
    ],
)
def test_bad_arguments_are_refused_in_the_words_of_fal(arguments, loc, kind, ctx):
    catalogue = Catalogue()
    found = catalogue.checker(catalogue.find("sandbox/flux-lora")).problems(arguments)
    detail = next(item for item in found if item["loc"] == loc and item["type"] == kind)
    assert detail.get("ctx") == ctx
    assert {"msg", "url", "input"} <= set(detail)


def test_a_media_address_that_nobody_can_fetch_is_refused():
    catalogue = Catalogue()
    checker = catalogue.checker(catalogue.find("sandbox/whisper"))
    assert checker.problems({"audio_url": "/home/me/a.wav"})[0]["type"] == "file_download_error"


def test_importing_the_sandbox_loads_no_server_and_no_picture_library():
    code = "import sys, falq.sandbox; print('aiohttp' in sys.modules, 'PIL' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
