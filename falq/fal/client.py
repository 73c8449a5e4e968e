"""The calls of fal.ai's wire protocol: thin, one method each, never repeated by itself.

A paid POST gives an outcome, because each outcome needs another next step; every other call
gives its reading or raises. Reads are safe to repeat, paid POSTs are not, and when to repeat
is the pipeline's decision, not this client's.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Self
from uuid import uuid4

import httpx

from falq.errors import ArgumentsError, FalqError, NetworkError
from falq.fal.arguments import encode_arguments
from falq.fal.catalogue import ModelDocument, ModelPage, Price
from falq.fal.history import History
from falq.fal.hosts import Hosts
from falq.fal.outcomes import (
    Accepted,
    Busy,
    Lost,
    LostKind,
    NotSent,
    Ran,
    Refused,
    lost,
    read_run,
    read_submit,
)
from falq.fal.platform_api import PlatformApi
from falq.fal.problems import read_problem, result_problem
from falq.fal.reading import Reply, mapping
from falq.fal.replies import (
    CancelOutcome,
    FalStatus,
    KeyState,
    Output,
    read_output,
    read_status,
)
from falq.fal.sse import EventReader
from falq.fal.urls import (
    RequestRef,
    cancel_urls,
    request_url,
    result_urls,
    run_url,
    status_urls,
    stream_url,
    submit_url,
)
from falq.fal.wire import (
    LARGE_REPLY_BYTES,
    SMALL_REPLY_BYTES,
    FaultKind,
    LiveReply,
    Wire,
    WireFault,
)

_LOST_BY_FAULT = {
    FaultKind.TIMEOUT: LostKind.TIMEOUT,
    FaultKind.DROPPED: LostKind.DROPPED,
    FaultKind.GARBAGE: LostKind.GARBAGE,
}
#: The free key check asks about a request that nobody has; any model's application serves.
_CHECKED_MODEL_ID = "fal-ai/flux"


class FalClient:
    """Fal.ai over one set of connections, for as many jobs at once as one likes.

    Use it in one event loop, close it with ``aclose`` or ``async with``.

    Args:
        hosts: Where fal is.
        key: Goes to the queue, run and Platform bases only; None for public reads.
        transport: Replaces the network.

    Raises:
        InvalidKeyError: The key cannot be one.
    """

    def __init__(
        self, hosts: Hosts, key: str | None, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._hosts = hosts
        self._wire = Wire(key, transport)
        self._platform = PlatformApi(hosts, self._wire)

    async def submit(
        self,
        model_id: str,
        arguments: dict[str, Any],
        *,
        deadline_s: float = 30.0,
        headers: Mapping[str, str] | None = None,
    ) -> Accepted | NotSent | Busy | Refused | Lost:
        """Put a job into fal's queue; costs money, and is sent once.

        Gives a value for whatever happens: only ``NotSent`` and ``Busy`` allow sending it
        again.
        """
        url = submit_url(self._hosts, model_id)
        sent = await self._post(
            url, model_id, arguments, deadline_s=deadline_s, headers=headers,
            max_bytes=SMALL_REPLY_BYTES,
        )  # fmt: skip
        return read_submit(model_id, sent) if isinstance(sent, Reply) else sent

    async def run(
        self,
        model_id: str,
        arguments: dict[str, Any],
        *,
        deadline_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> Ran | NotSent | Busy | Refused | Lost:
        """Run a model on one connection; costs money, and is sent once.

        A connection that breaks loses the result; the request may be found in the record.
        """
        url = run_url(self._hosts, model_id)
        sent = await self._post(
            url, model_id, arguments, deadline_s=deadline_s, headers=headers,
            max_bytes=LARGE_REPLY_BYTES,
        )  # fmt: skip
        return read_run(model_id, sent) if isinstance(sent, Reply) else sent

    async def _post(
        self,
        url: str,
        model_id: str,
        arguments: dict[str, Any],
        *,
        deadline_s: float,
        headers: Mapping[str, str] | None,
        max_bytes: int,
    ) -> Reply | NotSent | Refused | Lost:
        try:
            content = encode_arguments(arguments)
            return await self._wire.exchange(
                "POST", url, deadline_s=deadline_s, content=content, headers=headers,
                max_bytes=max_bytes, paid=True,
            )  # fmt: skip
        except ArgumentsError as error:
            return Refused(error.about(model_id=model_id))
        except WireFault as fault:
            if fault.kind is FaultKind.NOT_SENT:
                return NotSent(NetworkError(fault.reason, model_id=model_id))
            return lost(_LOST_BY_FAULT[fault.kind], fault.reason, model_id, fault.request_id)

    async def status(
        self, ref: RequestRef, *, logs: bool = False, deadline_s: float = 15.0
    ) -> FalStatus:
        """Ask where a request stands; free and safe to repeat.

        Raises:
            NetworkError: Ask again.
            EndpointRefusedError: HTTP 405 on every address of the request.
            RequestNotFoundError: Fal knows no such request.
            AccountError: The key is refused.
        """
        reply = await self._ask(ref, "GET", status_urls(self._hosts, ref, logs=logs), deadline_s)
        if not 200 <= reply.status < 300:
            raise _about(ref, reply)
        body = reply.json_or_none()
        if not isinstance(body, dict):
            raise _unreadable(reply, ref)
        return read_status(body)

    async def status_stream(
        self, ref: RequestRef, *, logs: bool = False, idle_s: float = 30.0
    ) -> AsyncGenerator[FalStatus, None]:
        """Follow a request as fal tells; ends when fal closes the stream.

        The end does not mean COMPLETED: ask ``status`` then. Log lines are increments.
        Close the iterator (``aclosing``) when leaving it early.

        Raises:
            NetworkError: Nothing came for ``idle_s``, or the stream broke: go on by polling.
            EndpointRefusedError: Fal does not stream this request.
        """
        url = stream_url(self._hosts, ref, logs=logs)
        try:
            async with self._wire.live(url, idle_s=idle_s) as live:
                if live.status != 200:
                    raise _about(ref, await live.rest())
                async with aclosing(_statuses(live)) as statuses:
                    async for status in statuses:
                        yield status
        except WireFault as fault:
            raise _network(fault, ref) from fault
        except ValueError as error:
            raise NetworkError(f"the status stream is none: {error}", **_ids(ref)) from error

    async def result(self, ref: RequestRef, *, deadline_s: float = 60.0) -> Output:
        """Fetch what a request gave; free and safe to repeat.

        Raises:
            StillRunningError: It has not ended.
            ModelError: It failed, in fal's words (``ContentPolicyError`` among them).
            EndpointRefusedError: HTTP 405 on every address of the result.
            RequestNotFoundError: Fal does not have it (any more).
            NetworkError: Ask again.
            AccountError: The key is refused.
        """
        urls = result_urls(self._hosts, ref)
        reply = await self._ask(ref, "GET", urls, deadline_s, max_bytes=LARGE_REPLY_BYTES)
        if not 200 <= reply.status < 300:
            raise result_problem(reply, model_id=ref.model_id, request_id=ref.request_id)
        try:
            return read_output(reply)
        except ValueError as error:
            raise _unreadable(reply, ref) from error

    async def cancel(self, ref: RequestRef, *, deadline_s: float = 15.0) -> CancelOutcome:
        """Ask fal to cancel a request; safe to repeat.

        A queued one is removed. A running one gets a signal, may still complete and be billed.

        Raises:
            NetworkError: Ask again.
            AccountError: The key is refused.
        """
        reply = await self._ask(ref, "PUT", cancel_urls(self._hosts, ref), deadline_s)
        if 200 <= reply.status < 300:
            return CancelOutcome.REQUESTED
        said = mapping(reply.json_or_none()).get("status")
        if reply.status == 400 and said == "ALREADY_COMPLETED":
            return CancelOutcome.ALREADY_COMPLETED
        if reply.status == 404:
            return CancelOutcome.NOT_FOUND
        raise _about(ref, reply)

    async def _ask(
        self,
        ref: RequestRef,
        method: str,
        urls: Sequence[str],
        deadline_s: float,
        max_bytes: int = SMALL_REPLY_BYTES,
    ) -> Reply:
        """Ask at the addresses of a request in turn, going on only after a 405."""
        clock = asyncio.get_running_loop().time
        due_at = clock() + deadline_s
        for url in urls:
            try:
                reply = await self._wire.exchange(
                    method, url, deadline_s=max(due_at - clock(), 0.0), max_bytes=max_bytes
                )
            except WireFault as fault:
                raise _network(fault, ref) from fault
            if reply.status != 405:
                break
        return reply

    async def models(
        self,
        *,
        query: str | None = None,
        category: str | None = None,
        model_ids: Sequence[str] = (),
        status: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        expand_openapi: bool = False,
    ) -> ModelPage:
        """Give one page of the catalogue; the key is optional.

        Args:
            query: Searches name, description and category.
            category: Such as ``text-to-image``.
            model_ids: At most 50; unknown ones are left out.
            status: ``active`` or ``deprecated``; both by default.
            limit: Models of a page; fal has a maximum of its own.
            cursor: ``next_cursor`` of the page before.
            expand_openapi: Asks for the models' documents too.

        Raises:
            NetworkError: Ask again.
            AccountError: The key is refused.
        """
        asked = {"q": query, "category": category, "status": status, "cursor": cursor}
        asked |= {"limit": None if limit is None else str(limit)}
        asked |= {"expand": "openapi-3.0" if expand_openapi else None}
        pairs = [(name, value) for name, value in asked.items() if value is not None]
        pairs += [("endpoint_id", model_id) for model_id in model_ids]
        return await self._platform.models(pairs)

    async def openapi(self, model_id: str) -> ModelDocument:
        """Give a model's OpenAPI document: the catalogue's, else the website's.

        Raises:
            UsageError: Fal knows no such model.
            NetworkError: Fal could not be reached or could not make the document.
            AccountError: The key is refused.
        """
        return await self._platform.openapi(model_id)

    async def pricing(self, model_ids: Sequence[str]) -> dict[str, Price]:
        """Give the prices of models by id; those without one are left out. Needs a key.

        Raises:
            NetworkError: Ask again.
            AccountError: The key is refused.
        """
        return await self._platform.pricing(model_ids)

    async def requests_by_endpoint(
        self,
        model_id: str,
        *,
        start_at: float | None,
        request_id: str | None = None,
        payloads: bool = True,
        deadline_s: float = 15.0,
    ) -> History:
        """Give what fal recorded of a model's requests, all pages of it up to 2,000.

        A request may show late, and one that still runs perhaps not at all.

        Args:
            model_id: The whole id, as it was submitted.
            start_at: From when on; fal's default is 24 hours, 90 days with a request_id.
            request_id: Only this one.
            payloads: With arguments and outputs.
            deadline_s: For all pages together.

        Raises:
            NetworkError: Ask again.
            AccountError: The key is refused.
        """
        return await self._platform.requests(
            model_id,
            start_at=start_at,
            request_id=request_id,
            payloads=payloads,
            deadline_s=deadline_s,
        )

    async def check_key(self) -> KeyState:
        """Ask fal about the key without paying (fal-api.md §1); not about the balance.

        Raises:
            NetworkError: Fal could not be reached, or what answers is not fal.
        """
        if not self._wire.has_key:
            return KeyState.MISSING
        ref = RequestRef(model_id=_CHECKED_MODEL_ID, request_id=str(uuid4()))
        url = f"{request_url(self._hosts, ref)}/status"
        reply = await self._ask(ref, "GET", (url,), 15.0)
        if reply.status in (401, 403):
            return KeyState.INVALID if reply.status == 401 else KeyState.LOCKED
        if reply.status == 404 and isinstance(reply.json_or_none(), dict):
            return KeyState.VALID
        raise NetworkError(f"{url} answered {reply.status}: is fal there?")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._wire.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


async def _statuses(live: LiveReply) -> AsyncGenerator[FalStatus, None]:
    events = EventReader()
    while (chunk := await live.chunk()) is not None:
        for event in events.feed(chunk):
            body = json.loads(event)
            if isinstance(body, dict):
                yield read_status(body)


def _ids(ref: RequestRef) -> dict[str, str]:
    return {"model_id": ref.model_id, "request_id": ref.request_id}


def _about(ref: RequestRef, reply: Reply) -> FalqError:
    return read_problem(reply, model_id=ref.model_id, request_id=ref.request_id)


def _network(fault: WireFault, ref: RequestRef) -> NetworkError:
    return NetworkError(fault.reason, **_ids(ref))


def _unreadable(reply: Reply, ref: RequestRef) -> NetworkError:
    reason = f"fal answered {reply.status} with something that is no JSON"
    return NetworkError(reason, **_ids(ref))
