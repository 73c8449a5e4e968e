"""Skills per second: 1,000 skills of the sandbox's synthetic catalogue, written to disk.

Run: python benchmarks/generate.py [--models N]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from falq.fal.catalogue import ModelDocument, ModelEntry, Price
from falq.sandbox import synthetic_catalogue
from falq.sandbox.model import openapi_document
from generator.generation import Request, generate_skills
from generator.model_facts import read_facts

GOAL_MS = 10.0


def documents(count):
    """Make what fal would have answered; not part of what is measured."""
    found = []
    for model in synthetic_catalogue(count):
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
        found.append((document, price))
    return found


def measure(found, **options):
    """Give milliseconds per skill, from fal's answer to the files on disk."""
    with tempfile.TemporaryDirectory() as folder:
        started_at = time.perf_counter()
        today = date(2026, 8, 1)
        facts = [read_facts(document, price, today) for document, price in found]
        generate_skills(facts, Request(output=Path(folder), **options))
        return (time.perf_counter() - started_at) * 1000 / len(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=1000)
    count = parser.parse_args().models
    found = documents(count)
    default_ms = measure(found)
    print(f"default     {default_ms:6.2f} ms per skill, {count} skills (goal <= {GOAL_MS:g})")
    print(f"lazy        {measure(found, lazy=True):6.2f} ms per skill, {count} skills")
    few = found[:20]
    print(f"standalone  {measure(few, standalone=True):6.2f} ms per skill, {len(few)} skills")
    return 0 if default_ms <= GOAL_MS else 1


if __name__ == "__main__":
    sys.exit(main())
