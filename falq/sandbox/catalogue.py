"""The sandbox's catalogue: finding models and their documents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from falq.sandbox.model import Document, Model, openapi_document
from falq.sandbox.other_models import other_models
from falq.sandbox.picture_models import picture_models
from falq.sandbox.validation import ArgumentChecker

#: A segment of this name in a model id asks for a fault: ``sandbox/fault/hang``.
FAULT_SEGMENT = "/fault/"
_FAULT_BASE = "sandbox/flux/dev"


def default_models() -> list[Model]:
    """List the models that every sandbox serves."""
    return [*picture_models(), *other_models()]


class Catalogue:
    """Models by id, with their documents and checkers made when first needed."""

    def __init__(self, models: Iterable[Model] | None = None) -> None:
        chosen = default_models() if models is None else models
        self._models = {model.model_id: model for model in chosen}
        self._documents: dict[str, Document] = {}
        self._checkers: dict[str, ArgumentChecker] = {}

    def find(self, model_id: str) -> Model | None:
        """Find a model; an id with a fault segment stands for its base model."""
        base, marked, _ = model_id.partition(FAULT_SEGMENT)
        if not marked:
            return self._models.get(model_id)
        model = self._models.get(_FAULT_BASE if base == "sandbox" else base)
        return model and replace(model, model_id=model_id)

    def document(self, model: Model) -> Document:
        """Write a model's OpenAPI document, once."""
        if model.model_id not in self._documents:
            self._documents[model.model_id] = openapi_document(model)
        return self._documents[model.model_id]

    def checker(self, model: Model) -> ArgumentChecker:
        """Make the checker of a model's arguments, once."""
        if model.model_id not in self._checkers:
            self._checkers[model.model_id] = ArgumentChecker(self.document(model))
        return self._checkers[model.model_id]

    def search(
        self,
        *,
        ids: Iterable[str] = (),
        q: str = "",
        category: str | None = None,
        status: str | None = None,
    ) -> list[Model]:
        """List the models that match every filter, in the catalogue's order."""
        wanted = list(ids)
        pool = [self.find(name) for name in wanted] if wanted else list(self._models.values())
        return [
            model
            for model in pool
            if model is not None
            and (category is None or model.category == category)
            and (status is None or model.status == status)
            and _mentions(model, q)
        ]


def _mentions(model: Model, q: str) -> bool:
    texts = (model.model_id, model.display_name, model.category, model.description, *model.tags)
    whole = " ".join(texts).lower()
    return all(word in whole for word in q.lower().split())
