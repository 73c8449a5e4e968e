"""One request to the sandbox with what its handlers need, and the replies they give."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from falq.sandbox.faults import Fault, parse_faults
from falq.sandbox.ledger import Entry, short_hash

#: What every reply of the sandbox says, so that nobody takes it for fal.
BANNER = {"X-Falq-Sandbox": "1"}


@dataclass(frozen=True)
class Exchange:
    """A request below one role's prefix.

    Attributes:
        path: The address's path without the role, without slashes at its ends.
    """

    request: web.BaseRequest
    path: str
    entry: Entry

    @property
    def origin(self) -> str:
        """Where the caller reached the sandbox."""
        return f"http://{self.request.host}"

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.request.method

    @property
    def key(self) -> str | None:
        """The key after ``Key``; None without that header."""
        scheme, _, key = self.request.headers.get("Authorization", "").partition(" ")
        return key.strip() or None if scheme == "Key" else None

    @property
    def account(self) -> str:
        """Whose request it is: a hash of the key."""
        return short_hash((self.key or "").encode())

    def header_faults(self) -> list[Fault]:
        """Read the faults that this request asks for.

        Raises:
            web.HTTPBadRequest: There is no such fault.
        """
        line = self.request.headers.get("X-Sandbox-Fault")
        return checked_faults(line) if line else []

    def values(self, name: str) -> list[str]:
        """List a query parameter that is repeated, holds commas, or ends in ``[]``."""
        query = self.request.query
        given = [*query.getall(name, []), *query.getall(f"{name}[]", [])]
        return [part for value in given for part in value.split(",") if part]

    async def body(self) -> bytes:
        """Read the whole body, however large."""
        return await self.request.content.read()


def checked_faults(line: str) -> list[Fault]:
    """Read faults, or refuse the request.

    Raises:
        web.HTTPBadRequest: There is no such fault.
    """
    try:
        return parse_faults(line)
    except ValueError as err:
        raise web.HTTPBadRequest(text=str(err)) from err


def reply(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer with JSON and a request id of the gateway, as fal does."""
    given = {"x-fal-request-id": str(uuid.uuid4()), **BANNER, **(headers or {})}
    data = json.dumps(body).encode()
    return web.Response(body=data, status=status, headers=given, content_type="application/json")


def detail(text: str, status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer with fal's plain error."""
    return reply({"detail": text}, status, headers)


def empty_405() -> web.Response:
    """Answer as fal does on a sub-path address: 405 without a word (fal-api.md §2.1)."""
    return web.Response(status=405, headers=BANNER)


def platform_error(kind: str, message: str, status: int) -> web.Response:
    """Answer with an error of the Platform API (fal-api.md §4.3)."""
    return reply({"error": {"type": kind, "message": message}}, status)


def refuse_key(exchange: Exchange) -> web.Response | None:
    """Refuse a missing or wrong key; any other is good."""
    key = exchange.key
    exchange.entry.key_hash = exchange.account if key else None
    if "Authorization" not in exchange.request.headers:
        return detail("Authorization header is required", 401)
    return detail("invalid key credentials", 401) if key is None or key.startswith("bad") else None


def refuse_payment(exchange: Exchange) -> web.Response | None:
    """Refuse an account without money; fal tells it only where money is asked for."""
    if (exchange.key or "").startswith("broke"):
        reason = "Exhausted balance. Top up your balance at fal.ai/dashboard/billing."
        return detail(f"User is locked. Reason: {reason}", 403)
    return None
