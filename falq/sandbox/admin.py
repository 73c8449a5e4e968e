"""The sandbox's own role: its log, its counts and its scripted faults."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import web

from falq.sandbox.exchange import Exchange, detail, reply
from falq.sandbox.faults import Rule
from falq.sandbox.parts import Parts


@dataclass(frozen=True)
class Admin:
    """Answers below ``/sandbox``; these requests are not in the log."""

    parts: Parts

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        """Answer ``log``, ``stats`` and ``faults``."""
        call = (exchange.method, exchange.path)
        if call == ("GET", "log"):
            return reply(self.parts.ledger.entries())
        if call == ("GET", "stats"):
            return reply(self.parts.ledger.stats())
        if call == ("DELETE", "log"):
            self.parts.ledger.clear()
            return reply({"ok": True})
        if exchange.path == "faults":
            return await self._faults(exchange)
        return detail(f"no such operation: {call[0]} /sandbox/{call[1]}", 404)

    async def _faults(self, exchange: Exchange) -> web.Response:
        if exchange.method == "DELETE":
            self.parts.book.clear()
            return reply({"ok": True})
        if exchange.method == "POST":
            return self._add(json.loads(await exchange.body()))
        return reply([_shown(rule) for rule in self.parts.book.rules])

    def _add(self, asked: dict[str, Any]) -> web.Response:
        try:
            return reply(_shown(self.parts.book.add(**asked)))
        except (TypeError, ValueError) as err:
            return detail(str(err), 400)


def _shown(rule: Rule) -> dict[str, Any]:
    return {**asdict(rule), "fault": rule.fault.name}
