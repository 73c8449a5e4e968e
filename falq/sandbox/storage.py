"""Uploads in both of fal's forms (fal-api.md §7.2, §7.3)."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass

from aiohttp import web

from falq.sandbox.blobs import Blob, Blobs
from falq.sandbox.breakage import break_reply
from falq.sandbox.exchange import BANNER, Exchange, detail, empty_405, refuse_key, reply
from falq.sandbox.faults import aim, find_wire
from falq.sandbox.paid_request import iso
from falq.sandbox.parts import Parts

_TOKEN = "sandbox-cdn-token"  # noqa: S105 - opens nothing but this sandbox
_TOKEN_LIFE_S = 3600.0


@dataclass(frozen=True)
class Storage:
    """The role of rest.fal.ai, and the uploading half of v3.fal.media."""

    parts: Parts
    blobs: Blobs

    async def rest(self, exchange: Exchange) -> web.StreamResponse:
        """Answer below ``/rest``."""
        exchange.entry.op = "upload"
        broken = await self._broken(exchange)
        refused = broken or refuse_key(exchange)
        if refused is not None:
            return refused
        if exchange.method != "POST":
            return empty_405()
        if exchange.path == "storage/auth/token":
            return self._token(exchange)
        if exchange.path in {"storage/upload/initiate", "storage/upload/initiate-multipart"}:
            return self._initiate(exchange, json.loads(await exchange.body()))
        return detail(f"Path /{exchange.path} not found", 404)

    async def cdn(self, exchange: Exchange) -> web.StreamResponse:
        """Answer what is sent to ``/cdn`` by POST or PUT."""
        exchange.entry.op = "upload"
        broken = await self._broken(exchange)
        if broken is not None:
            return broken
        if exchange.path in {"files/upload", "files/upload/multipart"}:
            return await self._begin(exchange, whole=exchange.path == "files/upload")
        return await self._continue(exchange)

    async def _broken(self, exchange: Exchange) -> web.StreamResponse | None:
        header = [aim(fault, "upload") for fault in exchange.header_faults()]
        fault = find_wire([*header, *self.parts.book.take("upload", "*")], "upload", Counter())
        if fault is None:
            return None
        exchange.entry.fault = fault.name
        return await break_reply(exchange.request, fault, reply({"detail": "broken"}))

    def _token(self, exchange: Exchange) -> web.Response:
        return reply(
            {
                "token": _TOKEN,
                "token_type": "Bearer",
                "base_url": f"{exchange.origin}/cdn",
                "expires_at": iso(time.time() + _TOKEN_LIFE_S).replace("Z", "+00:00"),
            }
        )

    def _initiate(self, exchange: Exchange, asked: dict[str, str]) -> web.Response:
        kind = asked.get("content_type", "application/octet-stream")
        blob = self.blobs.create(asked.get("file_name", "file"), kind)
        url = f"{exchange.origin}/cdn/{blob.url_path}"
        return reply({"upload_url": f"{url}?signature={blob.secret}", "file_url": url})

    async def _begin(self, exchange: Exchange, *, whole: bool) -> web.Response:
        headers = exchange.request.headers
        if headers.get("Authorization") != f"Bearer {_TOKEN}":
            return detail("Authorization header is required", 401)
        kind = headers.get("Content-Type", "application/octet-stream")
        blob = self.blobs.create(headers.get("X-Fal-File-Name", "file"), kind)
        url = f"{exchange.origin}/cdn/{blob.url_path}"
        if not whole:
            return reply({"access_url": url, "uploadId": blob.secret})
        await self._store(exchange, blob)
        return reply({"access_url": url})

    async def _store(self, exchange: Exchange, blob: Blob) -> str:
        etag = await self.blobs.save(blob, exchange.request.content.iter_chunked(1 << 18))
        self.blobs.finish(blob)
        return etag

    async def _continue(self, exchange: Exchange) -> web.Response:
        """Take a presigned PUT, a part, or the list that completes a multipart upload."""
        segments = exchange.path.split("/")
        blob = self.blobs.find(segments[2]) if len(segments) > 3 else None
        if blob is None:
            return detail("Not Found", 404)
        tail, secret = segments[4:], exchange.request.query.get("signature", "")
        if tail[:1] == ["multipart"] and len(tail) == 3:
            secret, tail = tail[1], tail[2:]
        if secret != blob.secret:
            return detail("Signature does not match", 403)
        if tail == ["complete"]:
            return self._complete(blob, json.loads(await exchange.body()))
        if not tail:
            return _stored(await self._store(exchange, blob))
        if not tail[0].isdigit() or tail == ["0"]:
            return detail("Part numbers begin at 1", 400)
        chunks = exchange.request.content.iter_chunked(1 << 18)
        return _stored(await self.blobs.save(blob, chunks, int(tail[0])))

    def _complete(self, blob: Blob, asked: dict[str, list[dict[str, str]]]) -> web.Response:
        listed = [(int(part["partNumber"]), part["etag"]) for part in asked.get("parts", [])]
        if not listed or not self.blobs.finish(blob, listed):
            return detail("InvalidPart", 400)
        return reply({"path": f"/{blob.url_path}"})


def _stored(etag: str) -> web.Response:
    return web.Response(headers={**BANNER, "ETag": etag})
