"""One model of the sandbox's catalogue and its OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from falq.sandbox.components import needed_components
from falq.sandbox.schema import Schema, integer, object_schema, ref, text

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Model:
    """What the catalogue knows about one model.

    Attributes:
        maker: Name of the function in ``results`` that makes this model's output.
        unit_price: US dollars for one ``unit``.
        documented: False for a model whose OpenAPI expansion fails, as fal's sometimes do.
    """

    model_id: str
    display_name: str
    category: str
    description: str
    maker: str
    inputs: Mapping[str, Schema]
    outputs: Mapping[str, Schema]
    required: tuple[str, ...] = ("prompt",)
    outputs_required: tuple[str, ...] = ()
    unit: str = "image"
    unit_price: float = 0.025
    status: str = "active"
    kind: str = "inference"
    tags: tuple[str, ...] = field(default=("sandbox",))
    documented: bool = True
    updated_at: str = "2026-08-01T09:30:00Z"


def schema_name(model_id: str) -> str:
    """Name a model's schemas as fal does.

    >>> schema_name("fal-ai/flux/dev")
    'FluxDev'
    """
    words = re.split(r"[^A-Za-z0-9]+", model_id.removeprefix("fal-ai/"))
    return "".join(word[:1].upper() + word[1:] for word in words)


def openapi_document(model: Model) -> Document:
    """Write the document that fal would publish for this model."""
    name = schema_name(model.model_id)
    given = object_schema(f"{name}Input", model.inputs, model.required)
    made = object_schema(f"{name}Output", model.outputs, model.outputs_required)
    schemas = {
        "QueueStatus": _queue_status(),
        f"{name}Input": given,
        f"{name}Output": made,
        **needed_components(given, made),
    }
    return {
        "openapi": "3.0.4",
        "info": _info(model),
        "components": {"securitySchemes": _security_schemes(), "schemas": schemas},
        "paths": _paths(model.model_id, name),
        "servers": [{"url": "https://queue.fal.run"}],
        "security": [{"apiKeyAuth": []}],
    }


def _info(model: Model) -> Document:
    page = f"https://fal.ai/models/{model.model_id}"
    metadata = {
        "endpointId": model.model_id,
        "category": model.category,
        "thumbnailUrl": "https://example.com/falq-sandbox.jpeg",
        "playgroundUrl": page,
        "documentationUrl": f"{page}/api",
        "about": model.description,
    }
    return {
        "title": f"Queue OpenAPI for {model.model_id}",
        "version": "1.0.0",
        "description": f"The OpenAPI schema for the {model.model_id} queue.",
        "x-fal-metadata": metadata,
    }


def _security_schemes() -> Document:
    key = {"type": "apiKey", "in": "header", "name": "Authorization", "description": "Fal Key"}
    return {"apiKeyAuth": key}


def _queue_status() -> Schema:
    # fal types logs as an object although a list is sent (fal-api.md §6.7): kept as it is.
    loose = {"type": "object", "additionalProperties": True}
    states = {"type": "string", "enum": ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]}
    links = ("request_id", "response_url", "status_url", "cancel_url")
    return {
        "type": "object",
        "properties": {
            "status": states,
            **{name: text(f"The {name.replace('_', ' ')}.") for name in links},
            "logs": {**loose, "description": "The logs."},
            "metrics": {**loose, "description": "The metrics."},
            "queue_position": integer("The queue position."),
        },
        "required": ["status", "request_id"],
    }


def _paths(model_id: str, name: str) -> Document:
    base, cancelled = f"/{model_id}/requests/{{request_id}}", {"success": {"type": "boolean"}}
    status = ref("QueueStatus")
    body = {"required": True, "content": _json(ref(f"{name}Input"))}
    return {
        f"{base}/status": {"get": _operation("The request status.", status, _ID, _LOGS)},
        f"{base}/cancel": {
            "put": _operation(
                "The request was cancelled.", {"type": "object", "properties": cancelled}, _ID
            )
        },
        f"/{model_id}": {
            "post": {"requestBody": body, "responses": _ok("The request status.", status)}
        },
        base: {"get": _operation("Result of the request.", ref(f"{name}Output"), _ID)},
    }


_ID = {
    "name": "request_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "description": "Request ID"},
}
_LOGS = {
    "name": "logs",
    "in": "query",
    "required": False,
    "schema": {"type": "number", "description": "Whether to include logs (`1`) or not (`0`)."},
}


def _operation(description: str, schema: Schema, *parameters: Document) -> Document:
    return {"parameters": list(parameters), "responses": _ok(description, schema)}


def _ok(description: str, schema: Schema) -> Document:
    return {"200": {"description": description, "content": _json(schema)}}


def _json(schema: Schema) -> Document:
    return {"application/json": {"schema": schema}}
