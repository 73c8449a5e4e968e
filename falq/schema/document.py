"""Find a model's input and output schema in its OpenAPI document.

The names of the components are a guess (fal-api.md §6.7: nested types end in Input and Output
too), so both schemas are reached from the paths.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from falq.errors import ModelError
from falq.schema.normal_form import Schema, self_contained

_RESULT_TAIL = "/requests/{request_id}"


@dataclass(frozen=True, kw_only=True)
class ModelSchema:
    """A model's schemas in normal form.

    Attributes:
        sha256: Of the document's canonical JSON: tells whether fal changed anything.
    """

    input: Schema
    output: Schema
    sha256: str


def read_document(model_id: str, document: Any) -> ModelSchema:
    """Read what a model takes and gives.

    Raises:
        ModelError: fal could not expand the document, or it holds no input schema.
    """
    if not isinstance(document, dict) or "error" in document:
        raise ModelError(f"fal gave no OpenAPI document for {model_id}{_reason(document)}")
    sha256, document = document_sha256(document), _in_unicode(document)
    components = _at(document, "components", "schemas")
    body = _input_operation(model_id, _at(document, "paths")).get("requestBody")
    schema = _at(body, "content", "application/json", "schema")
    if not schema:
        raise ModelError(f"the OpenAPI document of {model_id} has no POST with a JSON body")
    return ModelSchema(
        input=self_contained(schema, components),
        output=self_contained(_result_schema(model_id, _at(document, "paths")), components),
        sha256=sha256,
    )


def document_sha256(document: Any) -> str:
    """Hash a document whatever the order of its keys."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _in_unicode(document: dict[str, Any]) -> dict[str, Any]:
    """Replace halves of surrogate pairs, which JSON can hold and no file can."""
    text = json.dumps(document, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        whole: dict[str, Any] = json.loads(text.encode("utf-8", "replace"))
        return whole
    return document


def _at(value: Any, *keys: str) -> dict[str, Any]:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _reason(document: Any) -> str:
    error = document.get("error") if isinstance(document, dict) else None
    text = error.get("message") if isinstance(error, dict) else error
    return f": {text[:200]!r}" if isinstance(text, str) else ""


def _input_operation(model_id: str, paths: dict[str, Any]) -> dict[str, Any]:
    own = _at(paths, f"/{model_id}", "post")
    return own or next((found for path in paths if (found := _at(paths, path, "post"))), {})


def _result_schema(model_id: str, paths: dict[str, Any]) -> dict[str, Any]:
    steps = ("get", "responses", "200", "content", "application/json", "schema")
    own = _at(paths, f"/{model_id}{_RESULT_TAIL}", *steps)
    others = (_at(paths, path, *steps) for path in paths if path.endswith(_RESULT_TAIL))
    return own or next((found for found in others if found), {})
