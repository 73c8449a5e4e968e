"""Watching, fetching and cancelling at queue.fal.run (fal-api.md §2.3 to §2.6)."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from falq.sandbox.breakage import SPOILING, break_reply
from falq.sandbox.exchange import BANNER, Exchange, empty_405, refuse_key, reply
from falq.sandbox.faults import Fault, aim, find_view, find_wire
from falq.sandbox.paid_api import PaidApi, result_reply
from falq.sandbox.paid_request import Json, PaidRequest, app_of
from falq.sandbox.parts import Parts

#: What follows the request id: the method it takes and the name of the operation.
_FOLLOW_UPS: Mapping[str, tuple[str, str]] = {
    "": ("GET", "result"),
    "status": ("GET", "status"),
    "status/stream": ("GET", "stream"),
    "cancel": ("PUT", "cancel"),
}


@dataclass(frozen=True, kw_only=True)
class _Look:
    """One follow-up call about a request that was found."""

    exchange: Exchange
    request: PaidRequest
    faults: list[Fault]

    @property
    def logs(self) -> bool:
        """Whether the caller wants log lines."""
        return self.exchange.request.query.get("logs", "0").lower() in {"1", "true"}

    def shows(self, name: str) -> bool:
        """Tell whether a fault changes what this reply says, and count it as shown."""
        return find_view(self.faults, name, self.request.uses) is not None


@dataclass(frozen=True)
class QueueApi:
    """The role of queue.fal.run."""

    parts: Parts
    paid: PaidApi

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        """Answer below ``/queue``."""
        app, marked, tail = exchange.path.partition("/requests/")
        if not marked:
            return await self.paid.submit(exchange)
        request_id, _, rest = tail.partition("/")
        method, op = _FOLLOW_UPS.get(rest, ("", "unknown"))
        entry = exchange.entry
        entry.op, entry.model_id, entry.request_id = op, app, request_id
        # The sub-path rule comes first at fal: its 405 tells nothing about the request.
        if app_of(app) != app or exchange.method != method:
            return empty_405()
        found = self.parts.desk.find(request_id)
        # Without a key fal says 404, not 401, about an unknown id (fal-api.md §1).
        refused = refuse_key(exchange)
        if refused is not None and (found or "Authorization" in exchange.request.headers):
            return refused
        return await self._look(exchange, op, app, found)

    async def _look(
        self, exchange: Exchange, op: str, app: str, found: PaidRequest | None
    ) -> web.StreamResponse:
        faults, uses = self._faults(exchange, op, app, found), found.uses if found else Counter()
        wire = find_wire(faults, op, uses)
        exchange.entry.fault = wire.name if wire else None
        if wire and wire.name not in SPOILING:
            return await break_reply(exchange.request, wire)
        if found is None or found.app != app or found.account != exchange.account:
            return reply({"status": "NOT_FOUND"}, 404)
        exchange.entry.model_id = found.model.model_id
        look = _Look(exchange=exchange, request=found, faults=faults)
        if op == "stream":
            return await self._stream(look)
        whole = self._whole(op, look)
        return await break_reply(exchange.request, wire, whole) if wire else whole

    def _faults(
        self, exchange: Exchange, op: str, app: str, found: PaidRequest | None
    ) -> list[Fault]:
        own = list(found.faults) if found else []
        header = [aim(fault, op) for fault in exchange.header_faults()]
        return [*header, *own, *self.parts.book.take(op, found.model.model_id if found else app)]

    def _whole(self, op: str, look: _Look) -> web.Response:
        if op == "status":
            return self._status(look)
        return self._result(look) if op == "result" else self._cancel(look.request)

    def _status(self, look: _Look) -> web.Response:
        request = look.request
        since = (request.ended_at or time.time()) - self.parts.pace.log_window_s
        body = self._body(look, since)
        return reply(body, 200 if body["status"] == "COMPLETED" else 202)

    def _body(self, look: _Look, logs_since: float) -> Json:
        request = look.request
        if look.shows("missing-fields"):
            return {"status": request.status}
        body: Json = {
            "status": "WARMING_UP" if look.shows("unknown-status") else request.status,
            "request_id": request.request_id,
            **request.urls(look.exchange.origin),
        }
        if request.status == "IN_QUEUE":
            return {**body, "queue_position": self.parts.desk.position(request)}
        body["logs"] = request.log(logs_since) if look.logs else None
        ended = {"metrics": request.metrics(), **request.error_fields()} if request.done else {}
        return {**body, **ended}

    async def _stream(self, look: _Look) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Cache-Control": "no-cache", **BANNER})
        stream.content_type = "text/event-stream"
        await stream.prepare(look.exchange.request)
        told = 0.0
        while True:
            changed = look.request.next_change()
            body = self._body(look, told)
            # The clock's own resolution: each event carries only lines not told before.
            told = max((at for at, _ in look.request.notes), default=told) + 1e-6
            await stream.write(f"data: {json.dumps(body)}\n\n".encode())
            if body["status"] == "COMPLETED":
                return stream
            if not look.request.done:
                await changed.wait()

    def _result(self, look: _Look) -> web.Response:
        request = look.request
        if request.done:
            return result_reply(request)
        ids = {"request_id": request.request_id, **request.urls(look.exchange.origin)}
        return reply({"detail": "Request is still in progress", **ids}, 400)

    def _cancel(self, request: PaidRequest) -> web.Response:
        if request.done:
            return reply({"status": "ALREADY_COMPLETED"}, 400)
        self.parts.desk.cancel(request)
        return reply({"status": "CANCELLATION_REQUESTED"}, 202)
