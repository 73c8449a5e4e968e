"""The requests that cost money: submit and run (fal-api.md §2.2, §3)."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from falq.sandbox.breakage import SPOILING, break_reply
from falq.sandbox.exchange import (
    Exchange,
    checked_faults,
    detail,
    empty_405,
    refuse_key,
    refuse_payment,
    reply,
)
from falq.sandbox.faults import Fault, faults_of_id, find_view, find_wire
from falq.sandbox.ledger import short_hash
from falq.sandbox.model import Model
from falq.sandbox.paid_request import Json, PaidRequest, app_of
from falq.sandbox.parts import Parts


@dataclass(frozen=True, kw_only=True)
class _Order:
    exchange: Exchange
    op: str
    model: Model
    arguments: Any
    faults: list[Fault]

    def option(self, argument: str, header: str, default: float) -> float:
        """Read a number that an argument or else a header of this call sets."""
        given = self.arguments.get(argument) if isinstance(self.arguments, dict) else None
        value = self.exchange.request.headers.get(header, default) if given is None else given
        return float(value)


@dataclass(frozen=True)
class PaidApi:
    """Takes paid requests, in the queue or in one go."""

    parts: Parts

    async def submit(self, exchange: Exchange) -> web.StreamResponse:
        """Answer ``POST /queue/<model_id>``."""
        return await self._answer(exchange, "submit")

    async def run(self, exchange: Exchange) -> web.StreamResponse:
        """Answer ``POST /run/<model_id>``."""
        return await self._answer(exchange, "run")

    async def _answer(self, exchange: Exchange, op: str) -> web.StreamResponse:
        exchange.entry.op, exchange.entry.model_id = op, exchange.path
        if exchange.method != "POST":
            return empty_405()
        self.parts.ledger.count_post(exchange.path)
        body = await exchange.body()
        exchange.entry.arguments_hash = short_hash(body)
        refused = refuse_key(exchange) or refuse_payment(exchange)
        model = self.parts.catalogue.find(exchange.path)
        if refused is not None or model is None:
            return refused or self._no_model(exchange.path)
        arguments = _arguments(exchange, body)
        faults = self._faults(exchange, op, arguments)
        order = _Order(exchange=exchange, op=op, model=model, arguments=arguments, faults=faults)
        return await self._serve(order)

    async def _serve(self, order: _Order) -> web.StreamResponse:
        wire = find_wire(order.faults, order.op, Counter())
        http = order.exchange.request
        order.exchange.entry.fault = wire.name if wire else None
        if wire and not wire.kind.registers:
            return await break_reply(http, wire)
        over = self._over_limit(order)
        if over is not None:
            return over
        request = self._take(order)
        if wire and wire.name not in SPOILING:
            return await break_reply(http, wire)
        whole = await self._reply(order, request)
        return await break_reply(http, wire, whole) if wire else whole

    async def _reply(self, order: _Order, request: PaidRequest) -> web.Response:
        if order.op == "submit":
            return reply(self._accepted(order, request))
        await request.end()
        return result_reply(request)

    def _accepted(self, order: _Order, request: PaidRequest) -> Json:
        ids = {"request_id": request.request_id}
        if find_view(order.faults, "missing-fields", request.uses):
            return ids
        position = self.parts.desk.position(request)
        urls = request.urls(order.exchange.origin)
        return {**ids, **urls, "queue_position": position, "status": "IN_QUEUE"}

    def _no_model(self, model_id: str) -> web.Response:
        app = app_of(model_id)
        known = any(app_of(item.model_id) == app for item in self.parts.catalogue.search())
        path = model_id.removeprefix(app) or "/"
        missing = f"Path {path} not found" if known else f"Application '{app}' not found"
        return detail(missing, 404, {"x-fal-billable-units": "0"})

    def _faults(self, exchange: Exchange, op: str, arguments: Any) -> list[Fault]:
        given = arguments.get("sandbox_fault") if isinstance(arguments, dict) else None
        asked = [*exchange.header_faults(), *(checked_faults(str(given)) if given else [])]
        try:
            asked += faults_of_id(exchange.path)
        except ValueError as err:
            raise web.HTTPBadRequest(text=str(err)) from err
        return [*asked, *self.parts.book.take(op, exchange.path)]

    def _over_limit(self, order: _Order) -> web.Response | None:
        desk, account = self.parts.desk, order.exchange.account
        if order.op == "run" and desk.is_full(account):
            words = f"Reached concurrent requests limit of {desk.limit}"
            data = {"limit": desk.limit}
            full = {"detail": words, "type": "concurrent_requests_limit", "data": data}
            return reply(full, 429, {"X-Fal-Needs-Retry": "1"})
        longest = order.exchange.request.query.get("fal_max_queue_length", "")
        if order.op == "submit" and longest.isdigit() and desk.waiting(account) > int(longest):
            return detail("Queue is too long", 429)
        return None

    def _take(self, order: _Order) -> PaidRequest:
        pace, direct = self.parts.pace, order.op == "run"
        queue_s = order.option("sandbox_queue", "X-Sandbox-Queue", pace.queue_s)
        request = PaidRequest(
            model=order.model,
            arguments=order.arguments,
            account=order.exchange.account,
            origin=order.exchange.origin,
            queued_at=time.time(),
            queue_s=0.0 if direct else queue_s,
            run_s=order.option("sandbox_latency", "X-Sandbox-Latency", pace.run_s),
            stored=order.exchange.request.headers.get("X-Fal-Store-IO") != "0",
            faults=order.faults,
        )
        self.parts.desk.register(request)
        entry = order.exchange.entry
        entry.request_id, entry.registered = request.request_id, True
        return request


def _arguments(exchange: Exchange, body: bytes) -> Any:
    # Two Content-Type headers make fal take the body as bytes (fal-api.md §2.2).
    if len(exchange.request.headers.getall("Content-Type", [])) > 1:
        return body.decode(errors="replace")
    try:
        return json.loads(body)
    except ValueError as err:
        raise web.HTTPBadRequest(text="Invalid JSON body") from err


def result_reply(request: PaidRequest) -> web.Response:
    """Answer with a request's output, under the status that it ended with."""
    headers = {
        "x-fal-request-id": request.request_id,
        "x-fal-billable-units": f"{request.units:g}",
    }
    if request.error_type:
        headers["X-Fal-Error-Type"] = request.error_type
    return reply(request.output, request.code or 500, headers)
