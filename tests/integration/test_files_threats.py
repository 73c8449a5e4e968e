"""Hostile servers against the downloader, over real sockets (limits-and-faults §5)."""

import asyncio
import contextlib
import gzip
import hashlib
import os
import resource
import ssl
import time
import zlib
from pathlib import Path

import httpcore
import httpx
import pytest

from falq import stream as stream_module
from falq.errors import DownloadError, OutputError
from falq.files import pinned
from falq.files.artifacts import Artifact
from falq.files.download import Downloader
from falq.files.names import NamePlan
from falq.files.output import OutputDirectory
from falq.files.policy import MediaPolicy
from falq.stream import Stream

PNG = b"\x89PNG\r\n\x1a\n" + bytes(1000)
MIB = 1 << 20


class Server:
    """Answers each path with what its handler writes; counts connections."""

    def __init__(self):
        self.handlers = {}
        self.hits = 0
        self.heads = []
        self.port = 0
        self.tasks = set()

    async def answer(self, reader, writer):
        self.hits += 1
        self.tasks.add(asyncio.current_task())
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                path = head.split(b" ")[1].decode()
                if await self.handlers[path](writer) == "close":
                    break
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    @property
    def origin(self):
        return f"http://127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def serving(context=None):
    server = Server()
    listening = await asyncio.start_server(server.answer, "127.0.0.1", 0, ssl=context)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in server.tasks:
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)


@pytest.fixture
async def server():
    async with serving() as found:
        yield found


@pytest.fixture
async def canary():
    async with serving() as found:
        yield found


def plain(body, *headers, status="200 OK", length=None):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]

    async def handler(writer):
        writer.write("\r\n".join([*lines, *headers, "", ""]).encode() + body)
        await writer.drain()
        return "close" if length is not None else None

    return handler


def redirect(location):
    return plain(b"", f"Location: {location}", status="302 Found")


async def at_once(seconds):
    return None


async def fetch(server, path="/a", into=None, *, deadline_s=10.0, resolve=None, **policy):
    url = path if "://" in path else f"{server.origin}{path}"
    rules = MediaPolicy(allowed_origin=server.origin, **{"attempts": 1, "idle_s": 2.0, **policy})
    options = {} if resolve is None else {"resolve": resolve}
    async with Downloader(rules, sleep=at_once, **options) as downloader:
        with OutputDirectory.open(str(into)) as directory:
            artifact = Artifact(url=url, field="image")
            return await downloader.fetch(
                artifact, directory, NamePlan(stem="cat"), label="test", deadline_s=deadline_s
            )


async def refused(server, path, tmp_path, **options):
    with pytest.raises(DownloadError) as error:
        await fetch(server, path, tmp_path, **options)
    assert list(tmp_path.iterdir()) == []
    return error.value


async def test_small_and_large_bodies_arrive_as_they_were_sent(server, tmp_path):
    for size in (0, 1, 1000, 64 * 1024, 8 * MIB - 1, 8 * MIB + 1, 21 * MIB + 13):
        body = os.urandom(size)
        server.handlers["/a"] = plain(body)
        saved = await fetch(server, "/a", tmp_path)
        assert saved.sha256 == hashlib.sha256(body).hexdigest()
        assert Path(saved.path).read_bytes() == body
        Path(saved.path).unlink()


async def test_a_stream_takes_much_memory_only_when_much_is_taken(server):
    async def handler(writer):
        writer.write(bytes(300_000))
        await writer.drain()

    server.handlers["/a"] = handler
    stream = await Stream.connect("127.0.0.1", server.port, 5)
    assert stream._receiver.size < 100_000
    await stream.write(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
    first = await stream.read(1000, 5)
    assert len(first) + len(await stream.take(300_000 - len(first), 5)) == 300_000
    assert stream._receiver.size == stream_module.BUFFER_BYTES
    await stream.aclose()


async def test_files_of_one_host_share_a_connection(server, tmp_path):
    server.handlers["/a"] = server.handlers["/b"] = plain(PNG)
    async with Downloader(MediaPolicy(allowed_origin=server.origin)) as downloader:
        with OutputDirectory.open(str(tmp_path)) as into:
            for name in ("a", "b"):
                artifact = Artifact(url=f"{server.origin}/{name}", field="x")
                await downloader.fetch(
                    artifact, into, NamePlan(stem=name), label="test", deadline_s=5
                )
    assert server.hits == 1


async def test_100_mib_pass_and_one_byte_more_does_not(server, tmp_path):
    server.handlers["/a"] = plain(bytes(100 * MIB))
    saved = await fetch(server, "/a", tmp_path)
    assert saved.bytes == 100 * MIB
    Path(saved.path).unlink()

    async def endless(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"%x\r\n" % MIB + bytes(MIB) + b"\r\n"
        while True:
            writer.write(piece)
            await writer.drain()

    server.handlers["/b"] = endless
    error = await refused(server, "/b", tmp_path)
    assert error.exit_code == 7
    assert "104,857,600" in error.message


async def test_10_gb_that_are_declared_are_not_waited_for(server, tmp_path):
    server.handlers["/a"] = plain(b"x", length=10 * 10**9)
    assert "10,000,000,000" in (await refused(server, "/a", tmp_path)).message


async def test_a_bomb_of_1_gib_is_stopped_at_the_limit_in_little_memory(server, tmp_path):
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(MIB)
    bomb = b"".join(squeeze.compress(block) for _ in range(1024)) + squeeze.flush()
    del block
    server.handlers["/a"] = plain(bomb, "Content-Encoding: gzip")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "larger than the limit" in (await refused(server, "/a", tmp_path)).message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


async def test_a_nested_encoding_is_refused(server, tmp_path):
    body = gzip.compress(gzip.compress(bytes(MIB)))
    server.handlers["/a"] = plain(body, "Content-Encoding: gzip, gzip")
    assert "gzip, gzip" in (await refused(server, "/a", tmp_path)).message


@pytest.mark.parametrize(
    "place",
    [
        "http://127.0.0.1:{}/", "https://127.0.0.1:{}/", "https://localhost:{}/",
        "https://[::ffff:127.0.0.1]:{}/", "https://2130706433:{}/", "https://0x7f000001:{}/",
        "https://127.1:{}/", "https://0:{}/", "https://[::1]:{}/",
        "https://169.254.169.254/latest/meta-data/", "https://[::ffff:a9fe:a9fe]/",
        "https://10.0.0.1/", "https://100.64.0.1/", "file:///etc/passwd", "ftp://127.0.0.1:{}/",
        "gopher://127.0.0.1:{}/", "//127.0.0.1:{}/",
    ],
)  # fmt: skip
async def test_no_redirect_leads_to_a_private_place(server, canary, tmp_path, place):
    server.handlers["/a"] = redirect(place.format(canary.port))
    error = await refused(server, "/a", tmp_path, attempts=3)
    assert "refused" in error.message
    assert not error.retryable
    assert canary.hits == 0


async def test_no_url_of_a_result_leads_to_a_private_place(server, canary, tmp_path):
    for host in ("127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"):
        await refused(server, f"https://{host}:{canary.port}/", tmp_path)
    assert canary.hits == 0


async def test_one_private_answer_among_public_ones_is_enough(server, canary, tmp_path):
    async def resolve(host, port):
        return ["93.184.215.14", "127.0.0.1"]

    url = f"https://cdn.example:{canary.port}/a"
    await refused(server, url, tmp_path, resolve=resolve)
    assert canary.hits == 0


async def test_a_name_that_turns_private_after_the_check_gains_nothing(
    server, canary, tmp_path, monkeypatch
):
    answers = [["93.184.215.14"], ["127.0.0.1"]]
    connected = []

    async def resolve(host, port):
        return answers.pop(0)

    async def connect(address, *_):
        connected.append(address)
        raise httpcore.ConnectError("nobody there")

    monkeypatch.setattr(Stream, "connect", connect)
    url = f"https://cdn.example:{canary.port}/a"
    error = await refused(server, url, tmp_path, attempts=2, resolve=resolve)
    assert "127.0.0.1 is not a public" in error.message
    assert connected == ["93.184.215.14"]
    assert canary.hits == 0


async def test_a_redirect_loop_ends(server, tmp_path):
    server.handlers["/a"] = redirect("/a")
    assert "redirects more than" in (await refused(server, "/a", tmp_path)).message
    assert len(server.heads) == 4


async def test_a_server_that_hangs_is_given_up(server, tmp_path):
    async def hang(writer):
        await asyncio.sleep(60)

    async def hang_in_the_body(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n" + bytes(1000))
        await asyncio.sleep(60)

    server.handlers |= {"/a": hang, "/b": hang_in_the_body}
    for path in ("/a", "/b"):
        assert (await refused(server, path, tmp_path, idle_s=0.1)).retryable


async def test_a_server_that_drips_is_ended_by_the_deadline(server, tmp_path):
    async def drip(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n")
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.02)

    server.handlers["/a"] = drip
    began = time.monotonic()
    error = await refused(server, "/a", tmp_path, deadline_s=0.4)
    assert time.monotonic() - began < 2
    assert "0.4 s" in error.message


@pytest.mark.parametrize("size", [1000, 20 * MIB])
async def test_a_truncated_body_is_no_file(server, tmp_path, size):
    server.handlers["/a"] = plain(bytes(size // 2), length=size)
    assert (await refused(server, "/a", tmp_path)).retryable


async def test_a_server_that_recovers_is_forgiven(server, tmp_path):
    faults = [
        plain(b"", status="500 Oh"),
        plain(bytes(10), length=20),
        plain(bytes(10 * MIB), length=20 * MIB),
        plain(PNG),
    ]

    async def recover(writer):
        return await faults.pop(0)(writer)

    server.handlers["/a"] = recover
    assert (await fetch(server, "/a", tmp_path, attempts=4)).bytes == len(PNG)
    assert [path.name for path in tmp_path.iterdir()] == ["cat.png"]


async def test_garbage_for_an_answer_is_an_error(server, tmp_path):
    async def garbage(writer):
        writer.write(b"\x00\xff" * 5000)
        return "close"

    server.handlers["/a"] = garbage
    await refused(server, "/a", tmp_path)


async def test_headers_without_end_are_an_error(server, tmp_path):
    async def endless(writer):
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-A: " + b"a" * 60000 + b"\r\n")
            await writer.drain()

    server.handlers["/a"] = endless
    await refused(server, "/a", tmp_path)


async def test_nobody_listening_is_an_error_worth_a_second_try(server, tmp_path):
    server.port = 9
    assert (await refused(server, "/a", tmp_path)).retryable


async def half_then(server, size=20 * MIB):
    """Serve half of a file, then wait for the event that is given back."""
    halfway, go_on = asyncio.Event(), asyncio.Event()

    async def handler(writer):
        head = f"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: {size}\r\n\r\n"
        writer.write(head.encode() + PNG[:8] + bytes(size // 2 - 8))
        await writer.drain()
        halfway.set()
        await go_on.wait()
        writer.write(bytes(size - size // 2))
        await writer.drain()

    server.handlers["/a"] = handler
    return halfway, go_on


async def test_a_symlink_that_is_put_in_the_way_leads_nowhere(server, tmp_path):
    (tmp_path / "out").mkdir()
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    halfway, go_on = await half_then(server)
    fetching = asyncio.create_task(fetch(server, "/a", tmp_path / "out"))
    await halfway.wait()
    (tmp_path / "out/cat.png").symlink_to(outside)
    go_on.set()
    assert Path((await fetching).path).name == "cat-2.png"
    assert outside.read_bytes() == b"precious"


@pytest.mark.parametrize("links", [True, False])
async def test_a_temporary_file_that_is_exchanged_does_not_become_the_result(
    server, tmp_path, monkeypatch, links
):
    def no_links(*args, **kwargs):
        raise PermissionError(1, "no links here")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "out").mkdir()
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    halfway, go_on = await half_then(server)
    fetching = asyncio.create_task(fetch(server, "/a", tmp_path / "out"))
    await halfway.wait()
    (part,) = (tmp_path / "out").iterdir()
    part.unlink()
    part.symlink_to(outside)
    go_on.set()
    with pytest.raises(OutputError, match="exchanged"):
        await fetching
    assert outside.read_bytes() == b"precious"
    assert outside.stat().st_nlink == 1
    assert list((tmp_path / "out").iterdir()) == []


async def test_a_directory_that_is_swapped_for_a_symlink_leads_nowhere(server, tmp_path):
    (tmp_path / "outside").mkdir()
    halfway, go_on = await half_then(server)
    fetching = asyncio.create_task(fetch(server, "/a", tmp_path / "out"))
    await halfway.wait()
    (tmp_path / "out").rename(tmp_path / "moved")
    (tmp_path / "out").symlink_to(tmp_path / "outside")
    go_on.set()
    await fetching
    assert list((tmp_path / "outside").iterdir()) == []
    assert (tmp_path / "moved/cat.png").stat().st_size == 20 * MIB


async def test_a_cancelled_download_leaves_nothing_behind(server, tmp_path):
    halfway, _ = await half_then(server)
    fetching = asyncio.create_task(fetch(server, "/a", tmp_path))
    await halfway.wait()
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert list(tmp_path.iterdir()) == []


async def test_many_downloads_wait_for_their_turn(server, tmp_path):
    now = peak = 0

    async def slow(writer):
        nonlocal now, peak
        now += 1
        peak = max(peak, now)
        await asyncio.sleep(0.02)
        now -= 1
        return await plain(PNG)(writer)

    server.handlers["/a"] = slow
    policy = MediaPolicy(allowed_origin=server.origin, parallel=3)
    async with Downloader(policy) as downloader:
        with OutputDirectory.open(str(tmp_path)) as into:
            artifact = Artifact(url=f"{server.origin}/a", field="x")
            await asyncio.gather(*(
                downloader.fetch(
                    artifact, into, NamePlan(stem=f"{n}"), label=f"test-{n}", deadline_s=0.5
                )
                for n in range(12)
            ))  # fmt: skip
    assert peak <= 3
    assert len(list(tmp_path.iterdir())) == 12


@pytest.fixture
def certificate(certificate_for):
    return certificate_for("cdn.example")


@pytest.fixture
async def tls_server(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    async with serving(context) as found:
        yield found


async def fetch_tls(server, host, into):
    async def resolve(name, port):
        return ["127.0.0.1"]

    origin = f"https://{host}:{server.port}"
    async with Downloader(
        MediaPolicy(allowed_origin=origin, attempts=1), resolve=resolve
    ) as downloader:
        with OutputDirectory.open(str(into)) as directory:
            artifact = Artifact(url=f"{origin}/a", field="x")
            return await downloader.fetch(
                artifact, directory, NamePlan(stem="cat"), label="test", deadline_s=20
            )


async def test_tls_keeps_the_name_of_the_url_on_a_pinned_address(
    tls_server, certificate, tmp_path, monkeypatch
):
    context = ssl.create_default_context(cafile=certificate / "cert.pem")
    monkeypatch.setattr(pinned, "_ssl_context", lambda scheme: context)
    for body in (PNG, os.urandom(20 * MIB)):
        tls_server.handlers["/a"] = plain(body)
        saved = await fetch_tls(tls_server, "cdn.example", tmp_path)
        assert saved.sha256 == hashlib.sha256(body).hexdigest()
    assert f"Host: cdn.example:{tls_server.port}".encode() in tls_server.heads[0]
    with pytest.raises(DownloadError, match="certificate"):
        await fetch_tls(tls_server, "other.example", tmp_path)


async def test_a_certificate_that_nobody_vouches_for_is_refused(tls_server, tmp_path):
    tls_server.handlers["/a"] = plain(PNG)
    with pytest.raises(DownloadError, match="certificate"):
        await fetch_tls(tls_server, "cdn.example", tmp_path)
    assert tls_server.heads == []


async def test_the_environments_proxy_is_not_asked(server, canary, tmp_path, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, canary.origin)
    server.handlers["/a"] = plain(PNG)
    await fetch(server, "/a", tmp_path)
    assert canary.hits == 0


async def test_an_httpx_error_never_leaves_the_downloader(tmp_path):
    class Broken(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            raise httpx.UnsupportedProtocol("odd")

    async with Downloader(MediaPolicy(attempts=1), transport=Broken()) as downloader:
        with OutputDirectory.open(str(tmp_path)) as into, pytest.raises(DownloadError):
            artifact = Artifact(url="https://h/a", field="x")
            await downloader.fetch(artifact, into, NamePlan(stem="a"), label="test", deadline_s=1)
