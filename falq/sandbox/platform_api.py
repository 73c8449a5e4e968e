"""The Platform API, api.fal.ai/v1: models, prices and the request history (fal-api.md §6)."""

from __future__ import annotations

import base64
import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from falq.sandbox.breakage import SPOILING, break_reply
from falq.sandbox.exchange import Exchange, detail, platform_error, refuse_key, reply
from falq.sandbox.faults import Fault, aim, find_wire, status_code
from falq.sandbox.history import HistoryQuery, list_history
from falq.sandbox.model import Model
from falq.sandbox.parts import Parts

#: What fal answers at most in one page.
MAX_PAGE = 100
_OPS = {"models": "models", "models/pricing": "pricing", "models/requests/by-endpoint": "history"}


class _RefusedError(ValueError):
    """A query that the Platform API does not take."""


@dataclass(frozen=True)
class PlatformApi:
    """The role of api.fal.ai/v1, and the documents of the website."""

    parts: Parts

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        """Answer below ``/v1``."""
        op = exchange.entry.op = _OPS.get(exchange.path, exchange.path)
        wanted = exchange.values("endpoint_id")
        faults = self._faults(exchange, op, wanted)
        wire = find_wire(faults, op, Counter())
        exchange.entry.fault = wire.name if wire else None
        if wire and wire.name not in SPOILING:
            return await _broken(exchange, wire)
        try:
            whole = await self._route(exchange, wanted, faults)
        except ValueError as err:
            whole = platform_error("validation_error", str(err), 400)
        return await break_reply(exchange.request, wire, whole) if wire else whole

    async def site(self, exchange: Exchange) -> web.StreamResponse:
        """Answer below ``/site``: fal.ai's own address of a model's document."""
        exchange.entry.op = "document"
        model_id = exchange.request.query.get("endpoint_id", "")
        model = self.parts.catalogue.find(model_id)
        if exchange.path != "api/openapi/queue/openapi.json":
            return detail("Not Found", 404)
        if model is None or not model.documented:
            return detail(f"Application '{model_id}' not found", 404)
        return reply(self.parts.catalogue.document(model))

    def _faults(self, exchange: Exchange, op: str, wanted: Sequence[str]) -> list[Fault]:
        header = [aim(fault, op) for fault in exchange.header_faults()]
        return [*header, *self.parts.book.take(op, wanted[0] if wanted else "*")]

    async def _route(
        self, exchange: Exchange, wanted: list[str], faults: list[Fault]
    ) -> web.Response:
        path = exchange.path
        if path == "meta":
            return reply({"webhook_ip_ranges": ["127.0.0.1/32"]})
        if path == "models":
            return self._models(exchange, wanted)
        if refuse_key(exchange) is not None:
            return platform_error("authorization_error", "Authentication required", 401)
        if path == "models/pricing/estimate":
            return self._estimate(json.loads(await exchange.body()))
        if path not in _OPS:
            return platform_error("not_found", f"no such operation: /v1/{path}", 404)
        return self._about(exchange, wanted, faults)

    def _about(self, exchange: Exchange, wanted: list[str], faults: list[Fault]) -> web.Response:
        if not 1 <= len(wanted) <= 50:
            raise _RefusedError("endpoint_id is required, 1 to 50 of them")
        known = self.parts.catalogue.search(ids=wanted)
        if not known:
            return _unknown_ids(wanted)
        if exchange.entry.op == "pricing":
            return self._prices(known)
        return self._history(exchange, known, faults)

    def _models(self, exchange: Exchange, wanted: list[str]) -> web.Response:
        query, expand = exchange.request.query, exchange.values("expand")
        exchange.entry.key_hash = exchange.account if exchange.key else None
        if len(wanted) > 50:
            raise _RefusedError("at most 50 endpoint_id")
        found = self.parts.catalogue.search(
            ids=wanted,
            q=query.get("q", ""),
            category=query.get("category"),
            status=query.get("status"),
        )
        if wanted and not found:
            return _unknown_ids(wanted)
        page, paging = _page(found, exchange, default=50)
        return reply({"models": [self._listed(model, expand) for model in page], **paging})

    def _listed(self, model: Model, expand: Iterable[str]) -> dict[str, Any]:
        listed = {"endpoint_id": model.model_id, "metadata": _metadata(model)}
        if "openapi-3.0" in expand:
            failed = {"error": {"code": "expansion_failed", "message": "OpenAPI not available"}}
            documented = model.documented
            listed["openapi"] = self.parts.catalogue.document(model) if documented else failed
        if "enterprise_status" in expand:
            listed["enterprise_status"] = "ready"
        return listed

    def _prices(self, models: Iterable[Model]) -> web.Response:
        prices = [
            {
                "endpoint_id": model.model_id,
                "unit_price": model.unit_price,
                "unit": model.unit,
                "currency": "USD",
            }
            for model in models
        ]
        return reply({"prices": prices, "next_cursor": None, "has_more": False})

    def _estimate(self, asked: Any) -> web.Response:
        kinds = {"historical_api_price": "call_quantity", "unit_price": "unit_quantity"}
        kind = asked.get("estimate_type") if isinstance(asked, dict) else None
        if kind not in kinds:
            raise _RefusedError(f"estimate_type should be one of {', '.join(kinds)}")
        total = 0.0
        for model_id, wish in asked.get("endpoints", {}).items():
            model = self.parts.catalogue.find(model_id)
            if model is None:
                return _unknown_ids([model_id])
            total += model.unit_price * float(wish[kinds[kind]])
        return reply({"estimate_type": kind, "total_cost": round(total, 9), "currency": "USD"})

    def _history(
        self, exchange: Exchange, models: list[Model], faults: list[Fault]
    ) -> web.Response:
        now = time.time()
        expand = exchange.values("expand")
        query = HistoryQuery.from_query(exchange.request.query, expand, now)
        names = [model.model_id for model in models]
        requests = self.parts.desk.of_model(names, exchange.account)
        page, paging = _page(list_history(requests, query, faults, now), exchange, default=50)
        return reply({"items": page, **paging})


async def _broken(exchange: Exchange, fault: Fault) -> web.StreamResponse:
    code = status_code(fault.name)
    if code is None or fault.name.startswith("html"):
        return await break_reply(exchange.request, fault)
    kinds = {401: "authorization_error", 403: "authorization_error", 429: "rate_limited"}
    return platform_error(kinds.get(code, "server_error"), "falq sandbox fault", code)


def _unknown_ids(wanted: Iterable[str]) -> web.Response:
    return platform_error("not_found", f"unknown endpoint_id: {', '.join(wanted)}", 404)


def _page(
    found: Sequence[Any], exchange: Exchange, default: int
) -> tuple[Sequence[Any], dict[str, Any]]:
    query = exchange.request.query
    limit = int(query.get("limit", default))
    if not 1 <= limit <= MAX_PAGE:
        raise _RefusedError(f"limit should be 1 to {MAX_PAGE}, not {limit}")
    number = int(base64.b64decode(query["cursor"])) if query.get("cursor") else 1
    more = len(found) > number * limit
    cursor = base64.b64encode(str(number + 1).encode()).decode() if more else None
    return found[(number - 1) * limit : number * limit], {"next_cursor": cursor, "has_more": more}


def _metadata(model: Model) -> dict[str, Any]:
    return {
        "display_name": model.display_name,
        "category": model.category,
        "description": model.description,
        "status": model.status,
        "tags": list(model.tags),
        "updated_at": model.updated_at,
        "is_favorited": None,
        "thumbnail_url": "https://example.com/falq-sandbox.jpeg",
        "model_url": f"https://fal.run/{model.model_id}",
        "license_type": "commercial",
        "date": model.updated_at,
        "highlighted": False,
        "kind": model.kind,
        "pinned": False,
    }
