"""Facts of sandbox models for tests of the generator."""

from datetime import date

from falq.fal.catalogue import ModelDocument, ModelEntry, Price
from falq.sandbox.catalogue import default_models
from falq.sandbox.model import openapi_document
from generator.model_facts import read_facts

TODAY = date(2026, 8, 1)


def sandbox_model(model_id):
    return next(model for model in default_models() if model.model_id == model_id)


def facts_of(model, *, priced=True):
    entry = ModelEntry(
        model_id=model.model_id,
        title=model.display_name,
        category=model.category,
        description=model.description,
        deprecated=model.status == "deprecated",
    )
    document = ModelDocument(
        model_id=model.model_id,
        openapi=openapi_document(model),
        deprecated=entry.deprecated,
        entry=entry,
    )
    price = Price(
        model_id=model.model_id, unit_price=model.unit_price, unit=model.unit, currency="USD"
    )
    return read_facts(document, price if priced else None, TODAY)
