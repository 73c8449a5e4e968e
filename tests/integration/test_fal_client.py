"""FalClient against real sockets that break in every way; each paid POST is counted."""

import asyncio
import socket
import ssl
import time
from contextlib import asynccontextmanager
from functools import partial

import pytest

from falq.errors import NetworkError
from falq.fal.client import FalClient
from falq.fal.connections import Connections
from falq.fal.hosts import Hosts
from falq.fal.outcomes import Accepted, Lost, LostKind, NotSent, Ran, Refused
from falq.fal.urls import RequestRef

REF = RequestRef(model_id="a/b", request_id="r1")
BODY = b'{"request_id":"r1"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n" + BODY


class Server:
    """Reads whole requests and lets a coroutine answer each as it likes."""

    def __init__(self, answer):
        self.answer = answer
        self.requests = 0
        self.connections = 0
        self.tasks = set()

    async def handle(self, reader, writer):
        self.connections += 1
        self.tasks.add(asyncio.current_task())
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = [line for line in head.lower().split(b"\r\n") if b"content-length" in line]
                await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
                self.requests += 1
                await self.answer(writer)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def fal(answer, tls=None, host="127.0.0.1"):
    server = Server(answer)
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    origin = f"http{'s' if tls else ''}://{host}:{port}"
    try:
        async with FalClient(Hosts.under(origin), "id:secret") as client:
            yield client, server
    finally:
        listener.close()
        for task in server.tasks:
            task.cancel()
        await asyncio.gather(*server.tasks)


def says(*parts, close=False, pause_s=0.0):
    async def answer(writer):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)
        if close:
            writer.close()

    return answer


async def hangs(writer):
    await asyncio.sleep(5)


async def drips(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(100):
        writer.write(b" ")
        await asyncio.sleep(0.05)


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_a_refused_connection_is_not_sent():
    async with FalClient(Hosts.under(f"http://127.0.0.1:{closed_port()}"), "k") as client:
        outcome = await client.submit("a/b", {})
    assert isinstance(outcome, NotSent)
    assert "cannot connect" in str(outcome.error)


async def test_a_name_that_does_not_exist_is_not_sent():
    async with FalClient(Hosts.under("http://nobody.invalid"), "k") as client:
        assert isinstance(await client.submit("a/b", {}), NotSent)


async def test_tls_that_fails_is_not_sent():
    async with fal(says(b"HTTP/1.1 400 no TLS here\r\n\r\n", close=True)) as (client, _):
        port = client._hosts.queue.split(":")[2].split("/")[0]
        async with FalClient(Hosts.under(f"https://127.0.0.1:{port}"), "k") as secure:
            assert isinstance(await secure.submit("a/b", {}, deadline_s=3), NotSent)


@pytest.fixture
def tls(certificate_for, monkeypatch):
    """Give a server's TLS for localhost, which the client trusts."""
    folder = certificate_for("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    trusting = partial(ssl.create_default_context, cafile=folder / "cert.pem")
    monkeypatch.setattr("httpx.create_ssl_context", lambda trust_env: trusting())
    return context


async def test_calls_share_a_connection_with_tls(tls):
    async with fal(says(OK), tls, "localhost") as (client, server):
        for _ in range(3):
            assert isinstance(await client.submit("a/b", {}), Accepted)
        assert (server.requests, server.connections) == (3, 1)


async def test_a_certificate_of_another_name_is_not_sent_to(tls):
    async with fal(says(OK), tls, "127.0.0.1") as (client, server):
        outcome = await client.submit("a/b", {})
        assert isinstance(outcome, NotSent)
        assert "certificate" in str(outcome.error)
        assert server.requests == 0


async def test_a_handshake_that_hangs_past_the_deadline_is_not_sent():
    async with fal(hangs) as (client, server):
        port = client._hosts.queue.split(":")[2].split("/")[0]
        async with FalClient(Hosts.under(f"https://127.0.0.1:{port}"), "k") as secure:
            assert isinstance(await secure.submit("a/b", {}, deadline_s=0.6), NotSent)
        assert server.requests == 0


HALF = b"HTTP/1.1 200 OK\r\nx-fal-request-id: r9\r\nContent-Length: 99\r\n\r\n{"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (says(close=True), LostKind.DROPPED),
        (says(HALF, close=True), LostKind.DROPPED),
        (says(b"HTTP/1.1 200", close=True), LostKind.DROPPED),
        (says(b"\x16\x03\x01 rubbish\r\n\r\n", close=True), LostKind.DROPPED),
        (hangs, LostKind.TIMEOUT),
        (drips, LostKind.TIMEOUT),
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n<x>"), LostKind.GARBAGE),
        (
            says(b"HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n"),
            LostKind.METHOD_NOT_ALLOWED,
        ),
        (says(b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n"), LostKind.SERVER_ERROR),
        (says(b"HTTP/1.1 504 Late\r\nContent-Length: 0\r\n\r\n"), LostKind.GATEWAY_TIMEOUT),
    ],
)
@pytest.mark.parametrize("call", ["submit", "run"])
async def test_a_lost_reply_is_lost_within_the_deadline_and_never_sent_twice(answer, kind, call):
    async with fal(answer) as (client, server):
        began = time.monotonic()
        outcome = await getattr(client, call)("a/b", {"prompt": "x"}, deadline_s=0.5)
        assert time.monotonic() - began < 2
        assert isinstance(outcome, Lost)
        assert outcome.kind is kind
        assert server.requests == 1


async def test_half_a_reply_still_tells_the_id_of_its_head():
    async with fal(says(HALF, close=True)) as (client, _):
        outcome = await client.run("a/b", {}, deadline_s=1)
    assert isinstance(outcome, Lost)
    assert outcome.request_id == "r9"


async def test_a_refusal_counts_although_its_body_breaks_off():
    half = b"HTTP/1.1 422 No\r\nContent-Length: 99\r\n\r\n{"
    async with fal(says(half, close=True)) as (client, server):
        assert isinstance(await client.submit("a/b", {}), Refused)
        assert server.requests == 1


async def test_connections_are_used_again_and_none_is_left_open():
    async with fal(says(OK)) as (client, server):
        for _ in range(5):
            assert isinstance(await client.submit("a/b", {}), Accepted)
            await client.status(REF)
        assert (server.requests, server.connections) == (10, 1)


async def test_a_connection_that_the_server_closed_is_not_used_for_a_paid_post():
    async with fal(says(OK, close=True)) as (client, server):
        for _ in range(3):
            assert isinstance(await client.submit("a/b", {}), Accepted)
            await asyncio.sleep(0.02)
        assert server.connections == 3


async def test_an_idle_connection_is_left_to_reads_and_not_to_paid_posts(monkeypatch):
    monkeypatch.setattr("falq.fal.wire.PAID_MAX_IDLE_S", 0.0)
    async with fal(says(OK)) as (client, server):
        await client.status(REF)
        await client.submit("a/b", {})
        assert server.connections == 2
        await client.status(REF)
        assert server.connections == 2


async def test_a_cancelled_call_frees_its_connection():
    async with fal(hangs) as (client, server):
        task = asyncio.create_task(client.run("a/b", {}, deadline_s=60))
        while server.requests == 0 and not task.done():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_hundreds_of_calls_are_in_flight_at_once():
    async with fal(says(OK, pause_s=0.3)) as (client, server):
        began = time.monotonic()
        outcomes = await asyncio.gather(
            *(client.run("a/b", {"n": n}, deadline_s=20) for n in range(300))
        )
        assert all(isinstance(outcome, Ran) for outcome in outcomes)
        assert server.connections == 300
        assert time.monotonic() - began < 10


async def test_the_status_stream_ends_when_it_falls_silent():
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"

    async def answer(writer):
        writer.write(head + b'data: {"status":"IN_QUEUE"}\n\n')
        await asyncio.sleep(5)

    async with fal(answer) as (client, _):
        seen = []
        with pytest.raises(NetworkError):
            async for status in client.status_stream(REF, idle_s=0.3):
                seen.append(status.status)
        assert seen == ["IN_QUEUE"]


async def test_a_client_without_a_transport_keeps_its_own_connections():
    client = FalClient(Hosts.real(), None)
    assert isinstance(client._wire._transport, Connections)
    await client.aclose()
