"""Serving files: generated ones, uploaded ones, and every way in which that goes wrong."""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from aiohttp import web

from falq.sandbox.blobs import Blobs
from falq.sandbox.breakage import break_reply
from falq.sandbox.exchange import BANNER, Exchange, detail, empty_405
from falq.sandbox.faults import Fault, aim, make_fault
from falq.sandbox.media import MediaSpec, render
from falq.sandbox.parts import Parts

_CHUNK_BYTES = 1 << 20
_BOMB_BLOCK_BYTES = 1 << 24
_GIB = 1 << 30
_PNG_HEAD = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_HTML = b"<!doctype html><title>falq sandbox</title><script>alert(1)</script>\n"


@dataclass(frozen=True)
class Cdn:
    """The role of v3.fal.media, for readers."""

    parts: Parts
    blobs: Blobs
    failed: Counter[str] = field(default_factory=Counter)

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        """Answer GET and HEAD below ``/cdn``; no key is needed."""
        exchange.entry.op = "cdn"
        if exchange.method not in {"GET", "HEAD"}:
            return empty_405()
        _, kind, token, *_ = [*exchange.path.split("/"), "", "", ""]
        if kind == "u":
            return await self._uploaded(exchange, token)
        try:
            spec = MediaSpec.from_token(token) if kind == "b" else None
        except (ValueError, TypeError):
            spec = None
        return detail("Not Found", 404) if spec is None else await self._generated(exchange, spec)

    async def _uploaded(self, exchange: Exchange, blob_id: str) -> web.StreamResponse:
        fault = self._fault(exchange, "*")
        if fault is not None:
            return await self._break(exchange, fault, MediaSpec(kind="png", model_id=""))
        blob = self.blobs.find(blob_id)
        if blob is None or not blob.complete:
            return detail("Not Found", 404)
        file = web.FileResponse(blob.path, chunk_size=_CHUNK_BYTES, headers=BANNER)
        file.content_type = blob.content_type.partition(";")[0]
        return file

    async def _generated(self, exchange: Exchange, spec: MediaSpec) -> web.StreamResponse:
        exchange.entry.model_id = spec.model_id
        fault = self._fault(exchange, spec.model_id)
        if fault is not None:
            return await self._break(exchange, fault, spec)
        return await self._plain(spec)

    async def _plain(self, spec: MediaSpec) -> web.Response:
        # Drawing in a thread keeps the arrival times of other requests honest.
        body = await asyncio.to_thread(render, spec)
        return web.Response(body=body, content_type=spec.content_type, headers=BANNER)

    def _fault(self, exchange: Exchange, model_id: str) -> Fault | None:
        named = exchange.request.query.get("fault")
        asked = [make_fault(named)] if named else []
        asked += [aim(fault, "cdn") for fault in exchange.header_faults()]
        faults = [*asked, *self.parts.book.take("cdn", model_id)]
        found = next((fault for fault in faults if fault.acts_at("cdn")), None)
        exchange.entry.fault = found.name if found else None
        return found

    async def _break(self, exchange: Exchange, fault: Fault, spec: MediaSpec) -> web.StreamResponse:
        if fault.name == "cdn-500-then-ok":
            self.failed[exchange.path] += 1
            ready = self.failed[exchange.path] > fault.number("failures", 1)
            return await self._plain(spec) if ready else detail("Internal Server Error", 500)
        if fault.name in _BREAKERS:
            return await _BREAKERS[fault.name](exchange.request, fault, spec)
        bare = Fault(fault.name.removeprefix("cdn-"), fault.params)
        return await break_reply(exchange.request, bare, await self._plain(spec))


async def _redirect_loop(
    request: web.BaseRequest, _fault: Fault, _spec: MediaSpec
) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": str(request.rel_url), **BANNER})


async def _redirect_to(
    _request: web.BaseRequest, fault: Fault, _spec: MediaSpec
) -> web.StreamResponse:
    target = str(fault.params.get("url", "http://169.254.169.254/latest/meta-data/"))
    return web.Response(status=302, headers={"Location": target, **BANNER})


async def _wrong_type(
    _request: web.BaseRequest, _fault: Fault, spec: MediaSpec
) -> web.StreamResponse:
    return web.Response(body=_HTML, content_type=spec.content_type, headers=BANNER)


async def _exact_size(
    request: web.BaseRequest, fault: Fault, _spec: MediaSpec
) -> web.StreamResponse:
    size = int(fault.number("bytes", _CHUNK_BYTES))
    stream = web.StreamResponse(headers={"Content-Type": "image/png", **BANNER})
    stream.content_length = size
    await stream.prepare(request)
    if request.method == "GET":
        async for chunk in _filling(size):
            await stream.write(chunk)
    return stream


async def _filling(size: int) -> AsyncIterator[bytes]:
    head, zeros = _PNG_HEAD[:size], bytes(_CHUNK_BYTES)
    yield head
    for at in range(len(head), size, _CHUNK_BYTES):
        yield zeros if size - at >= _CHUNK_BYTES else zeros[: size - at]


async def _gzip_bomb(
    request: web.BaseRequest, fault: Fault, _spec: MediaSpec
) -> web.StreamResponse:
    """Send a body of a few kilobytes for each 16 MiB that it unpacks to."""
    blocks = max(1, int(fault.number("bytes", _GIB)) // _BOMB_BLOCK_BYTES)
    block, trailer = await asyncio.to_thread(_bomb, blocks)
    headers = {"Content-Type": "image/png", "Content-Encoding": "gzip", **BANNER}
    stream = web.StreamResponse(headers=headers)
    await stream.prepare(request)
    await stream.write(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff")
    for _ in range(blocks):
        await stream.write(block)
    await stream.write(trailer)
    return stream


@lru_cache(maxsize=4)
def _bomb(blocks: int) -> tuple[bytes, bytes]:
    """Make a repeatable deflate block of zeros, and what ends a gzip file of so many."""
    zeros = bytes(_BOMB_BLOCK_BYTES)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    # A full flush forgets the dictionary, so the block may stand any number of times.
    block = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    check = 0
    for _ in range(blocks):
        check = zlib.crc32(zeros, check)
    length = blocks * _BOMB_BLOCK_BYTES & 0xFFFFFFFF
    return block, packer.flush() + check.to_bytes(4, "little") + length.to_bytes(4, "little")


Breaker = Callable[[web.BaseRequest, Fault, MediaSpec], Awaitable[web.StreamResponse]]

_BREAKERS: Mapping[str, Breaker] = {
    "cdn-redirect-loop": _redirect_loop,
    "cdn-redirect-to": _redirect_to,
    "cdn-wrong-type": _wrong_type,
    "cdn-size": _exact_size,
    "cdn-gzip-bomb": _gzip_bomb,
}
