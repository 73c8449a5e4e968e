"""Ask fal about models: what a skill is made from, and what a search shows."""

from __future__ import annotations

import asyncio
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from falq.errors import AccountError, FalqError, ModelError, NetworkError, UsageError
from falq.fal.catalogue import ModelEntry, Price
from falq.fal.client import FalClient
from falq.schema.wording import either
from generator.model_facts import ModelFacts, read_facts

_PARALLEL = 8
_PAGE_MODELS = 100
_MAX_SUGGESTED = 3


@dataclass(frozen=True, kw_only=True)
class FoundModel:
    """One model of a search."""

    entry: ModelEntry
    price: Price | None


@dataclass(frozen=True, kw_only=True)
class Found:
    """The models of a search and where more of them begin."""

    models: tuple[FoundModel, ...]
    next_cursor: str | None


async def fetch_facts(
    client: FalClient, model_ids: Sequence[str], today: date, *, priced: bool
) -> list[ModelFacts]:
    """Fetch what is needed to make the skills of several models, in their order.

    Raises:
        UsageError: fal knows no such model; the hint names similar ones.
        ModelError: A model's document has no input schema.
        NetworkError: fal could not be reached or could not expand the document.
    """
    gate = asyncio.Semaphore(_PARALLEL)
    prices = await _prices(client, model_ids) if priced else {}

    async def one(model_id: str) -> ModelFacts:
        async with gate:
            try:
                document = await client.openapi(model_id)
                return read_facts(document, prices.get(model_id), today)
            except UsageError as error:
                raise await _with_suggestion(client, model_id, error) from error
            except (ModelError, NetworkError) as error:
                raise _without_schema(error, model_id) from error

    return await asyncio.gather(*(one(model_id) for model_id in model_ids))


async def search_models(
    client: FalClient,
    query: str,
    category: str | None,
    *,
    limit: int,
    cursor: str | None = None,
    priced: bool = False,
) -> Found:
    """Search fal's catalogue, page by page, until there are enough or no more.

    Raises:
        UsageError: The cursor is none of fal's.
    """
    entries: list[ModelEntry] = []
    while True:
        try:
            page = await client.models(
                query=query or None,
                category=category,
                limit=min(limit - len(entries), _PAGE_MODELS),
                cursor=cursor,
            )
        except ModelError as error:
            if cursor is None:
                raise
            raise _cursor_refused(cursor) from error
        entries += page.models
        cursor = page.next_cursor
        if cursor is None or len(entries) >= limit or not page.models:
            break
    prices = await _prices(client, [entry.model_id for entry in entries]) if priced else {}
    models = (FoundModel(entry=entry, price=prices.get(entry.model_id)) for entry in entries)
    return Found(models=tuple(models), next_cursor=cursor)


def _cursor_refused(cursor: str) -> UsageError:
    hint = "give next_cursor of an earlier search, or leave it out"
    return UsageError(f"--cursor {cursor[:60]!r} is none of fal's", hint)


def _without_schema(error: FalqError, model_id: str) -> FalqError:
    """Tell the way out where it is the schema that is missing, not the network."""
    if isinstance(error, ModelError) or error.model_id == model_id:
        error.hint = f"try later, or call it without a skill: falq call -m {model_id} -a '{{…}}'"
    return error


async def _prices(client: FalClient, model_ids: Sequence[str]) -> dict[str, Price]:
    """Fetch prices; a skill without one is better than none."""
    try:
        return await client.pricing(model_ids) if model_ids else {}
    except (AccountError, NetworkError):
        return {}


async def _with_suggestion(client: FalClient, model_id: str, error: UsageError) -> FalqError:
    try:
        close = await similar_models(client, model_id)
    except FalqError:
        close = []
    if not close:
        return error
    return UsageError(error.message, f"did you mean {either(close)}?", model_id=model_id)


async def similar_models(client: FalClient, model_id: str) -> list[str]:
    """Find ids that may have been meant, nearest first."""
    words = dict.fromkeys(re.findall(r"[A-Za-z]{3,}", model_id.partition("/")[2]))
    known: dict[str, None] = {}
    for word in [*sorted(words, key=len, reverse=True)[:2], ""]:
        page = await client.models(query=word or None, limit=_PAGE_MODELS)
        known |= dict.fromkeys(entry.model_id for entry in page.models)
    return difflib.get_close_matches(model_id, known, n=_MAX_SUGGESTED, cutoff=0.6)
