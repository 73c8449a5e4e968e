"""The sandbox: fal's hosts as prefixes of one origin on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

from aiohttp import web

from falq.sandbox.admin import Admin
from falq.sandbox.blobs import Blobs
from falq.sandbox.catalogue import Catalogue
from falq.sandbox.cdn import Cdn
from falq.sandbox.exchange import Exchange, detail, reply
from falq.sandbox.ledger import Entry
from falq.sandbox.model import Model
from falq.sandbox.paid_api import PaidApi
from falq.sandbox.parts import Pace, Parts, assemble
from falq.sandbox.platform_api import PlatformApi
from falq.sandbox.queue_api import QueueApi
from falq.sandbox.storage import Storage

Handler = Callable[[Exchange], Awaitable[web.StreamResponse]]

_BACKLOG = 2048
_STOP_S = 0.5


class Sandbox:
    """A local fal.

    Requests, uploads and the log live in this object and end with it.
    """

    def __init__(
        self,
        *,
        latency: float = 0.0,
        queue_latency: float = 0.0,
        account_limit: int | None = None,
        log_window: float = 10.0,
        models: Iterable[Model] | None = None,
    ) -> None:
        """Prepare a sandbox.

        Args:
            latency: Seconds that each request runs.
            queue_latency: Seconds that each queue request waits before.
            account_limit: Running requests per key, None for no limit.
            log_window: Seconds that a status reply's logs reach back.
            models: The catalogue, None for the default one.
        """
        pace = Pace(queue_s=queue_latency, run_s=latency, log_window_s=log_window)
        self.parts: Parts = assemble(Catalogue(models), pace, account_limit)
        self._blobs = Blobs()
        self._roles = _roles(self.parts, self._blobs)
        self._web: web.Server | None = None
        self._listener: asyncio.Server | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen, and give the origin.

        Raises:
            OSError: The port is taken or may not be used.
        """
        loop = asyncio.get_running_loop()
        # Cancelling handlers ends those that hang when their caller goes away.
        server = web.Server(self._answer, access_log=None, handler_cancellation=True)
        self._listener = await loop.create_server(server, host, port, backlog=_BACKLOG)
        self._web = server
        bound = self._listener.sockets[0].getsockname()[1]
        return f"http://{f'[{host}]' if ':' in host else host}:{bound}"

    async def stop(self) -> None:
        """Stop listening, break off what still hangs, and delete the uploads."""
        if self._listener is not None:
            self._listener.close()
        if self._web is not None:
            await self._web.shutdown(_STOP_S)
        if self._listener is not None:
            await self._listener.wait_closed()
        self._listener = self._web = None
        self._blobs.close()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        role, _, path = request.path.strip("/").partition("/")
        entry = Entry(method=request.method, role=role, path=request.path)
        if role != "sandbox":
            self.parts.ledger.add(entry)
        handler = self._roles.get(role, _unknown)
        try:
            answer = await handler(Exchange(request, path, entry))
        except web.HTTPException as err:
            answer = detail(err.text or err.reason, err.status)
        except (ValueError, TypeError, KeyError) as err:
            answer = detail(f"falq sandbox cannot read this request: {err!r}", 400)
        finally:
            entry.ended = time.monotonic()
        # A reply without a connection was never sent.
        entry.status = answer.status if request.transport else None
        return answer


def _roles(parts: Parts, blobs: Blobs) -> Mapping[str, Handler]:
    paid, platform, storage = PaidApi(parts), PlatformApi(parts), Storage(parts, blobs)
    cdn = Cdn(parts, blobs)

    async def files(exchange: Exchange) -> web.StreamResponse:
        writes = exchange.method in {"POST", "PUT"}
        return await (storage.cdn(exchange) if writes else cdn.answer(exchange))

    return {
        "queue": QueueApi(parts, paid).answer,
        "run": paid.run,
        "rest": storage.rest,
        "v1": platform.answer,
        "site": platform.site,
        "cdn": files,
        "sandbox": Admin(parts).answer,
        "": _banner,
    }


async def _banner(_exchange: Exchange) -> web.StreamResponse:
    roles = ["/queue", "/run", "/rest", "/v1", "/cdn", "/site", "/sandbox"]
    return reply({"name": "falq sandbox", "note": "a local stand-in; not fal.ai", "roles": roles})


async def _unknown(exchange: Exchange) -> web.StreamResponse:
    return detail(f"falq sandbox serves nothing at {exchange.request.path}", 404)
