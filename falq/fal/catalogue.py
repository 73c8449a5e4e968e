"""What fal says about its models: entries, documents, prices (fal-api.md §6.1, §6.2, §6.7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from falq.errors import FalqError, NetworkError, UsageError
from falq.fal.reading import items, mapping, number, text_in


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One model of fal's catalogue.

    Attributes:
        openapi: Its document, where one was asked for and fal could make it.
        openapi_error: Why fal could not.
        metadata: All that fal says about it; untrusted text.
    """

    model_id: str
    title: str
    category: str
    description: str
    deprecated: bool
    updated_at: str | None = None
    tags: tuple[str, ...] = ()
    openapi: dict[str, Any] | None = None
    openapi_error: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelPage:
    """Some models and where the next ones begin."""

    models: tuple[ModelEntry, ...]
    next_cursor: str | None


@dataclass(frozen=True, kw_only=True)
class ModelDocument:
    """A model's OpenAPI document.

    Attributes:
        entry: Its catalogue entry; None where only the website knew it.
    """

    model_id: str
    openapi: dict[str, Any]
    deprecated: bool
    entry: ModelEntry | None


@dataclass(frozen=True, kw_only=True)
class Price:
    """What one unit of a model costs; ``unit`` is fal's free text."""

    model_id: str
    unit_price: float
    unit: str
    currency: str


def read_page(body: Any) -> ModelPage:
    """Read a page of the catalogue; entries without an id are left out."""
    data = mapping(body)
    entries = (_read_entry(mapping(entry)) for entry in items(data.get("models")))
    return ModelPage(
        models=tuple(entry for entry in entries if entry is not None),
        next_cursor=next_cursor(data),
    )


def next_cursor(body: Any) -> str | None:
    """Give the cursor of the next page; None where this is the last."""
    data = mapping(body)
    return None if data.get("has_more") is False else text_in(data, "next_cursor")


def _read_entry(data: Mapping[str, Any]) -> ModelEntry | None:
    model_id = text_in(data, "endpoint_id")
    if model_id is None:
        return None
    about = mapping(data.get("metadata"))
    document = mapping(data.get("openapi"))
    return ModelEntry(
        model_id=model_id,
        title=text_in(about, "display_name") or model_id,
        category=text_in(about, "category") or "",
        description=text_in(about, "description") or "",
        deprecated=about.get("status") == "deprecated",
        updated_at=text_in(about, "updated_at"),
        tags=tuple(tag for tag in items(about.get("tags")) if isinstance(tag, str)),
        openapi=read_document(document),
        openapi_error=_expansion_error(document),
        metadata=about,
    )


def read_document(body: Any) -> dict[str, Any] | None:
    """Read an OpenAPI document; None if it describes no paths."""
    return dict(body) if isinstance(body, dict) and mapping(body.get("paths")) else None


def _expansion_error(document: Mapping[str, Any]) -> str | None:
    if "error" not in document:
        return None
    return text_in(mapping(document["error"]), "message") or "expansion failed"


def read_prices(body: Any) -> dict[str, Price]:
    """Read prices by model id; rows without a number are left out."""
    found = {}
    for row in map(mapping, items(mapping(body).get("prices"))):
        model_id, unit_price = text_in(row, "endpoint_id"), number(row.get("unit_price"))
        if model_id is not None and unit_price is not None:
            found[model_id] = Price(
                model_id=model_id,
                unit_price=unit_price,
                unit=text_in(row, "unit") or "unit",
                currency=text_in(row, "currency") or "USD",
            )
    return found


def no_document(model_id: str, entry: ModelEntry | None) -> FalqError:
    """Make the error of a model that has no document anywhere."""
    if entry is None:
        return UsageError(
            f"fal knows no model {model_id!r}", "find one with: falq search QUERY",
            model_id=model_id,
        )  # fmt: skip
    why = entry.openapi_error or "the catalogue holds none"
    state = "deprecated model" if entry.deprecated else "model"
    return NetworkError(
        f"fal could not give the schema of the {state} {model_id!r}: {why}",
        "try again later; a model that fails for days has no usable schema at fal",
        model_id=model_id,
    )
