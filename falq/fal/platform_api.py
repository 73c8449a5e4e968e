"""The calls of fal's Platform API and of its website: models, prices, the record of requests.

All are reads, free and safe to repeat.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from falq.errors import FalqError, NetworkError
from falq.fal.catalogue import (
    ModelDocument,
    ModelEntry,
    ModelPage,
    Price,
    next_cursor,
    no_document,
    read_document,
    read_page,
    read_prices,
)
from falq.fal.history import History, HistoryItem, read_history
from falq.fal.hosts import Hosts
from falq.fal.problems import read_problem
from falq.fal.reading import Reply
from falq.fal.wire import LARGE_REPLY_BYTES, Wire, WireFault

DEADLINE_S = 30.0
#: Pages of the record that one look-up reads: 2,000 requests of one model.
MAX_HISTORY_PAGES = 20
HISTORY_PAGE_ITEMS = 100
#: Ids that fal takes in one question about prices.
MAX_PRICED_IDS = 50

_Query = Sequence[tuple[str, str]]


class PlatformApi:
    """The Platform API over a client's connections."""

    def __init__(self, hosts: Hosts, wire: Wire) -> None:
        self._hosts = hosts
        self._wire = wire

    async def models(self, query: _Query) -> ModelPage:
        """Give one page of the catalogue; an unknown id gives an empty page."""
        reply = await self._get("/models", query)
        return ModelPage(models=(), next_cursor=None) if reply is None else read_page(_json(reply))

    async def openapi(self, model_id: str) -> ModelDocument:
        """Give a model's document from the catalogue, else from the website."""
        entry, failure = await self._entry(model_id)
        document = entry.openapi if entry is not None else None
        if document is None:
            document = await self._website_document(model_id)
        if document is None:
            raise failure or no_document(model_id, entry)
        deprecated = entry is not None and entry.deprecated
        return ModelDocument(
            model_id=model_id, openapi=document, deprecated=deprecated, entry=entry
        )

    async def _entry(self, model_id: str) -> tuple[ModelEntry | None, FalqError | None]:
        query = [("endpoint_id", model_id), ("expand", "openapi-3.0")]
        try:
            page = await self.models(query)
        except NetworkError as error:
            return None, error
        return next((entry for entry in page.models if entry.model_id == model_id), None), None

    async def _website_document(self, model_id: str) -> dict[str, Any] | None:
        query = urlencode({"endpoint_id": model_id})
        url = f"{self._hosts.site}/api/openapi/queue/openapi.json?{query}"
        try:
            reply = await self._wire.exchange(
                "GET", url, deadline_s=DEADLINE_S, max_bytes=LARGE_REPLY_BYTES, with_key=False
            )
        except WireFault:
            return None
        return read_document(reply.json_or_none()) if reply.status == 200 else None

    async def pricing(self, model_ids: Sequence[str]) -> dict[str, Price]:
        """Give the prices of those models that have one."""
        found: dict[str, Price] = {}
        for start in range(0, len(model_ids), MAX_PRICED_IDS):
            found |= await self._prices(model_ids[start : start + MAX_PRICED_IDS])
        return found

    async def _prices(self, model_ids: Sequence[str]) -> dict[str, Price]:
        query = [("endpoint_id", model_id) for model_id in model_ids]
        reply = await self._get("/models/pricing", query)
        if reply is not None:
            return read_prices(_json(reply))
        if len(model_ids) == 1:
            return {}
        # One unknown id may spoil the answer for all.
        half = len(model_ids) // 2
        return await self._prices(model_ids[:half]) | await self._prices(model_ids[half:])

    async def requests(
        self,
        model_id: str,
        *,
        start_at: float | None,
        request_id: str | None,
        payloads: bool,
        deadline_s: float,
    ) -> History:
        """Give a model's requests since a moment, from all pages up to a bound."""
        query = _history_query(model_id, start_at, request_id, payloads=payloads)
        found: list[HistoryItem] = []
        whole, ahead_s, cursor = True, None, None
        due_at = asyncio.get_running_loop().time() + deadline_s
        for _ in range(MAX_HISTORY_PAGES):
            page = query if cursor is None else [*query, ("cursor", cursor)]
            left_s = due_at - asyncio.get_running_loop().time()
            reply = await self._get("/models/requests/by-endpoint", page, left_s)
            body = {} if reply is None else _json(reply)
            ahead_s = _ahead_s(reply)
            whole = whole and isinstance(body.get("items"), list)
            found += read_history(body)
            cursor = next_cursor(body)
            if cursor is None:
                break
        return History(items=tuple(found), whole=whole and cursor is None, ahead_s=ahead_s)

    async def _get(self, path: str, query: _Query, deadline_s: float = DEADLINE_S) -> Reply | None:
        """Read from the Platform API; None for a 404."""
        url = f"{self._hosts.platform}{path}?{urlencode(query)}"
        try:
            reply = await self._wire.exchange(
                "GET", url, deadline_s=max(deadline_s, 0.0), max_bytes=LARGE_REPLY_BYTES
            )
        except WireFault as fault:
            raise NetworkError(fault.reason) from fault
        if reply.status == 404 and isinstance(reply.json_or_none(), dict):
            return None
        if not 200 <= reply.status < 300:
            raise read_problem(reply)
        return reply


def _json(reply: Reply) -> Mapping[str, Any]:
    body = reply.json_or_none()
    if not isinstance(body, dict):
        raise NetworkError(f"fal's Platform API answered {reply.status} with no JSON object")
    return body


def _ahead_s(reply: Reply | None) -> float | None:
    """Give how far fal's clock is ahead of ours, good to a second and the way of the reply."""
    told_at = None if reply is None else reply.date
    return None if told_at is None else told_at - time.time()


def _history_query(
    model_id: str, start_at: float | None, request_id: str | None, *, payloads: bool
) -> list[tuple[str, str]]:
    query = [("endpoint_id", model_id), ("limit", str(HISTORY_PAGE_ITEMS))]
    if start_at is not None:
        start = datetime.fromtimestamp(start_at, UTC).isoformat(timespec="milliseconds")
        query.append(("start", start.replace("+00:00", "Z")))
    if request_id is not None:
        query.append(("request_id", request_id))
    if payloads:
        query.append(("expand", "payloads"))
    return query
