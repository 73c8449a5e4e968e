"""The locked schema of a skill: ``references/schema.lock.json`` as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from falq.errors import ConfigurationError
from falq.schema.document import ModelSchema
from falq.schema.fields import read_fields
from falq.schema.normal_form import Schema

LOCK_VERSION = 1
#: Of errors; who knows the model sets its id in.
REGENERATE = "generate the skill again: falq generate -m MODEL_ID --force"


@dataclass(frozen=True, kw_only=True)
class LockedPrice:
    """What one unit cost on a day; ``unit`` is fal's free text (fal-api.md §6.2)."""

    unit_price: float
    unit: str
    currency: str
    checked_on: str

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True)
class SchemaLock:
    """What was known of a model when its skill was generated.

    Attributes:
        locked_on: ISO date.
    """

    model_id: str
    schema: ModelSchema
    locked_on: str
    price: LockedPrice | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        fields = read_fields(self.schema.input)
        return {
            "lock_version": LOCK_VERSION,
            "model_id": self.model_id,
            "openapi_sha256": self.schema.sha256,
            "locked_on": self.locked_on,
            "price": self.price.to_dict() if self.price else None,
            "defaults": {field.name: field.default for field in fields if field.has_default},
            "input": self.schema.input,
            "output": self.schema.output,
        }

    @staticmethod
    def from_dict(shown: Any) -> SchemaLock:
        """Read the JSON form.

        Raises:
            ConfigurationError: It is no lock of this version.
        """
        if not isinstance(shown, dict) or shown.get("lock_version") != LOCK_VERSION:
            raise ConfigurationError(
                f"schema.lock.json is no lock of version {LOCK_VERSION}", REGENERATE
            )
        try:
            return SchemaLock(
                model_id=str(shown["model_id"]),
                schema=_schema(shown),
                locked_on=str(shown["locked_on"]),
                price=LockedPrice(**shown["price"]) if shown["price"] else None,
            )
        except (KeyError, TypeError) as err:
            raise ConfigurationError(f"schema.lock.json is damaged: {err}", REGENERATE) from err


def _schema(shown: dict[str, Any]) -> ModelSchema:
    given, made = _object(shown["input"]), _object(shown["output"])
    return ModelSchema(input=given, output=made, sha256=str(shown["openapi_sha256"]))


def _object(value: Any) -> Schema:
    if not isinstance(value, dict):
        raise TypeError("a schema must be an object")
    return value
