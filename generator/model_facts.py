"""What is known of one model when its skill is made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from falq.fal.catalogue import ModelDocument, Price
from falq.schema.document import ModelSchema, read_document
from falq.schema.examples import both_examples
from falq.schema.fields import Field, read_fields
from falq.schema.lock import LockedPrice, SchemaLock
from generator.untrusted import is_innocent, plain

MAX_TITLE_CHARS = 80
MAX_DESCRIPTION_CHARS = 1000


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """A model as fal describes it; every text is one visible line but still a stranger's.

    Attributes:
        checked_on: ISO date on which fal was asked.
    """

    model_id: str
    title: str
    category: str
    description: str
    deprecated: bool
    schema: ModelSchema
    price: LockedPrice | None
    checked_on: str

    @cached_property
    def inputs(self) -> tuple[Field, ...]:
        """The fields that the model takes."""
        return read_fields(self.schema.input)

    @cached_property
    def outputs(self) -> tuple[Field, ...]:
        """The fields that the model gives back."""
        return read_fields(self.schema.output)

    @cached_property
    def examples(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Arguments of a short and of a longer call."""
        return both_examples(self.schema.input, is_innocent)

    def lock(self) -> SchemaLock:
        """Give what the skill keeps of the schema."""
        return SchemaLock(
            model_id=self.model_id,
            schema=self.schema,
            locked_on=self.checked_on,
            price=self.price,
        )


def read_facts(document: ModelDocument, price: Price | None, today: date) -> ModelFacts:
    """Bring what fal said about a model into one value.

    Raises:
        ModelError: The document holds no input schema.
    """
    about = document.openapi.get("info", {})
    about = about.get("x-fal-metadata", {}) if isinstance(about, dict) else {}
    about = about if isinstance(about, dict) else {}
    entry = document.entry
    category = entry.category if entry else about.get("category")
    description = entry.description if entry else about.get("about")
    return ModelFacts(
        model_id=document.model_id,
        title=_line(entry and entry.title, MAX_TITLE_CHARS) or document.model_id,
        category=_line(category, 60),
        description=_line(description, MAX_DESCRIPTION_CHARS),
        deprecated=document.deprecated,
        schema=read_document(document.model_id, document.openapi),
        price=_locked(price, today),
        checked_on=today.isoformat(),
    )


def _line(text: object, limit: int) -> str:
    return plain(text, limit) if isinstance(text, str) else ""


def _locked(price: Price | None, today: date) -> LockedPrice | None:
    if price is None:
        return None
    return LockedPrice(
        unit_price=price.unit_price,
        unit=plain(price.unit, 40),
        currency=plain(price.currency, 8),
        checked_on=today.isoformat(),
    )
