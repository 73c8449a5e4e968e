"""Replies that go wrong on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from falq.sandbox.exchange import BANNER, detail, empty_405, reply
from falq.sandbox.faults import Fault, status_code

#: Faults that spoil a reply, so that the reply must be known first.
SPOILING = frozenset({"truncated", "slow-loris"})
_NGINX = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n"
    b"</body>\r\n</html>\r\n"
)
_WORDS = {
    400: "Bad request",
    401: "invalid key credentials",
    403: "User is locked. Reason: Exhausted balance.",
    404: "Not Found",
    429: "Reached concurrent requests limit of 2",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}

Breaker = Callable[[web.BaseRequest, Fault], Awaitable[web.StreamResponse]]


async def break_reply(
    request: web.BaseRequest, fault: Fault, whole: web.Response | None = None
) -> web.StreamResponse:
    """Answer as a fault says.

    Args:
        request: The request to answer.
        fault: What goes wrong.
        whole: The right reply, for the faults in ``SPOILING``.
    """
    if fault.name == "truncated":
        return await _truncate(request, whole or reply({}))
    if fault.name == "slow-loris":
        return await _trickle(request, whole or reply({}), fault.number("interval_s", 1.0))
    name = fault.name.removesuffix("-unregistered").removesuffix("-registered")
    return await _BREAKERS.get(name, _fail)(request, fault)


async def never(_request: web.BaseRequest, _fault: Fault) -> web.StreamResponse:
    """Say nothing until the caller goes away."""
    await asyncio.Event().wait()
    raise AssertionError


async def drop(request: web.BaseRequest, _fault: Fault) -> web.StreamResponse:
    """Close the connection without a reply."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _fail(_request: web.BaseRequest, fault: Fault) -> web.StreamResponse:
    code = 404 if fault.name == "result-gone" else status_code(fault.name) or 500
    if code == 405:
        return empty_405()
    headers = {"Retry-After": str(fault.params["retry_after"])} if _waits(fault) else {}
    if code == 429:
        return reply({"detail": _WORDS[429], "type": "concurrent_requests_limit"}, 429, headers)
    return detail(_WORDS.get(code, "falq sandbox fault"), code, headers)


def _waits(fault: Fault) -> bool:
    return fault.params.get("retry_after") is not None


async def _html_502(_request: web.BaseRequest, _fault: Fault) -> web.StreamResponse:
    return web.Response(body=_NGINX, status=502, content_type="text/html", headers=BANNER)


async def _garbage(_request: web.BaseRequest, _fault: Fault) -> web.StreamResponse:
    return web.Response(body=b"\x00\xff{not json", content_type="application/json")


async def _truncate(request: web.BaseRequest, whole: web.Response) -> web.StreamResponse:
    body = _bytes_of(whole)
    half = _copy(whole, len(body))
    await half.prepare(request)
    await half.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return half


async def _trickle(
    request: web.BaseRequest, whole: web.Response, interval_s: float
) -> web.StreamResponse:
    body = _bytes_of(whole)
    slow = _copy(whole, len(body))
    await slow.prepare(request)
    for at in range(len(body)):
        await slow.write(body[at : at + 1])
        await asyncio.sleep(interval_s)
    return slow


def _bytes_of(whole: web.Response) -> bytes:
    return whole.body if isinstance(whole.body, bytes) else b""


def _copy(whole: web.Response, length: int) -> web.StreamResponse:
    copy = web.StreamResponse(status=whole.status, headers=whole.headers)
    copy.content_length = length
    return copy


_BREAKERS: Mapping[str, Breaker] = {
    "hang": never,
    "drop": drop,
    "html-502": _html_502,
    "garbage": _garbage,
}
