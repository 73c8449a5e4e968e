"""The downloader's decisions, over a transport that answers from a list."""

import asyncio
import base64
import gzip
import hashlib
import time
import zlib
from urllib.parse import quote

import httpx
import pytest

from falq.errors import DownloadError
from falq.files.artifacts import Artifact
from falq.files.download import Downloader
from falq.files.names import NamePlan
from falq.files.output import OutputDirectory
from falq.files.policy import MediaPolicy

PNG = b"\x89PNG\r\n\x1a\n" + bytes(91) + bytes([251, 240, 0, 255, 239, 190, 255, 254])
URL = "https://cdn.example/files/a.png"


class Script(httpx.AsyncBaseTransport):
    """Answers each request with the next reply; the last one stays."""

    def __init__(self, *replies):
        self.replies = list(replies)
        self.requests = []

    async def handle_async_request(self, request):
        self.requests.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        return reply() if callable(reply) else reply


class Chunks(httpx.AsyncByteStream):
    def __init__(self, *pieces):
        self.pieces = pieces

    async def __aiter__(self):
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece


def reply(body=PNG, status=200, kind="image/png", **headers):
    stream = body if isinstance(body, httpx.AsyncByteStream) else Chunks(body)
    sent = {"content-type": kind} if kind else {}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda: httpx.Response(status, headers=sent, stream=stream)


class Bench:
    def __init__(self, path):
        self.path = path
        self.waits = []
        self.progress = []
        self.script = None

    async def fetch(self, *replies, url=URL, policy=None, stem="cat", **artifact):
        self.script = Script(*replies)

        async def sleep(seconds):
            self.waits.append(seconds)

        downloader = Downloader(policy or MediaPolicy(), transport=self.script, sleep=sleep)
        async with downloader:
            with OutputDirectory.open(str(self.path)) as into:
                return await downloader.fetch(
                    Artifact(url=url, field="image", **artifact),
                    into,
                    NamePlan(stem=stem),
                    label="test",
                    deadline_s=5,
                    on_progress=lambda done, total: self.progress.append((done, total)),
                )

    async def fails(self, *replies, **options):
        with pytest.raises(DownloadError) as error:
            await self.fetch(*replies, **options)
        assert list(self.path.iterdir()) == []
        assert error.value.exit_code == 7
        return error.value


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


async def test_a_file_is_saved_as_what_it_is(bench):
    saved = await bench.fetch(reply(kind="image/jpeg", content_length=str(len(PNG))))
    assert saved.path == str(bench.path / "cat.png")
    assert (saved.content_type, saved.bytes, saved.url) == ("image/png", len(PNG), URL)
    assert saved.sha256 == hashlib.sha256(PNG).hexdigest()
    assert (bench.path / "cat.png").read_bytes() == PNG
    assert bench.progress == [(0, len(PNG)), (len(PNG), len(PNG))]


async def test_strangers_get_no_key_no_cookie_and_no_choice_of_encoding(bench):
    redirect = reply(b"", 302, location="https://other.example/b", set_cookie="a=b")
    await bench.fetch(redirect, reply())
    for request in bench.script.requests:
        assert not {"authorization", "cookie", "referer"} & set(request.headers)
        assert request.headers["accept-encoding"] == "identity"


async def test_exactly_the_limit_passes_and_one_byte_more_does_not(bench):
    policy = MediaPolicy(max_bytes=len(PNG))
    assert (await bench.fetch(reply(), policy=policy)).bytes == len(PNG)
    (bench.path / "cat.png").unlink()
    error = await bench.fails(reply(PNG + b"x"), policy=policy)
    assert "larger than the limit" in error.message
    assert not error.retryable
    assert len(bench.script.requests) == 1


async def test_a_size_that_is_announced_too_large_is_refused_unread(bench):
    unread = Chunks(AssertionError("the body was read"))
    error = await bench.fails(reply(unread, content_length=str(10 * 2**30)))
    assert "10,737,418,240 bytes" in error.message


async def test_a_body_without_end_is_cut_off(bench):
    endless = reply(Chunks(*[bytes(1 << 16)] * 64), transfer_encoding="chunked")
    await bench.fails(endless, policy=MediaPolicy(max_bytes=1 << 20))


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 429])
async def test_a_passing_fault_is_tried_again(bench, status):
    assert (await bench.fetch(reply(b"", status), reply())).bytes == len(PNG)
    assert len(bench.waits) == 1


async def test_attempts_end(bench):
    error = await bench.fails(reply(b"", 500))
    assert len(bench.script.requests) == MediaPolicy().attempts
    assert error.retryable


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 204, 206, 304])
async def test_any_other_answer_is_final(bench, status):
    error = await bench.fails(reply(b"", status))
    assert str(status) in error.message
    assert len(bench.script.requests) == 1


async def test_a_body_that_breaks_off_is_fetched_again_from_the_start(bench):
    broken = reply(Chunks(PNG[:50], httpx.RemoteProtocolError("peer closed connection")))
    assert (await bench.fetch(broken, reply())).bytes == len(PNG)
    assert (0, None) in bench.progress[1:]


async def test_a_body_that_nothing_frames_must_be_as_long_as_fal_said(bench):
    error = await bench.fails(reply(PNG[:50]), size=len(PNG))
    assert "cut short" in error.message


async def test_fals_word_on_the_size_does_not_spoil_a_whole_body(bench):
    await bench.fetch(reply(content_length=str(len(PNG))), size=len(PNG) + 1)


@pytest.mark.parametrize("body", [b"<!doctype html><p>Sign in", b'{"detail": "x"}', b"\x7fELF"])
async def test_what_is_no_picture_is_not_saved_as_one(bench, body):
    error = await bench.fails(reply(body))
    assert "announced as image/png" in error.message
    assert not error.retryable


@pytest.mark.parametrize("kind", ["text/html", "text/plain", "application/json", None])
async def test_fals_word_counts_beside_that_of_the_media_host(bench, kind):
    page = reply(b"<!doctype html><title>Sign in", kind=kind)
    error = await bench.fails(page, content_type="image/png")
    assert "but it is text/html" in error.message


async def test_a_page_under_a_pictures_name_is_none_though_fal_announces_nothing(bench):
    assert (await bench.fails(reply(b"<html>", kind="text/html"))).retryable is False
    saved = await bench.fetch(reply(b"<html>", kind="text/html"), url="https://h/page")
    assert saved.path.endswith(".html")


async def test_a_text_that_is_announced_as_one_is_saved(bench):
    text = reply(b"export const a = 1", kind="video/mp2t")
    assert (await bench.fetch(text, url="https://h/a.ts")).bytes == 18
    notes = reply(b"notes", kind="text/plain")
    assert (await bench.fetch(notes, url="https://h/a.txt", content_type="text/plain")).bytes == 5


async def test_fals_content_type_stands_in_for_a_missing_one(bench):
    error = await bench.fails(reply(b"<html>", kind=None), content_type="image/png")
    assert "announced as image/png" in error.message


async def test_an_empty_picture_is_none(bench):
    assert "is empty" in (await bench.fails(reply(b""))).message


async def test_an_empty_text_is_one(bench):
    empty = reply(b"", kind="text/plain")
    assert (await bench.fetch(empty, url="https://h/a.txt")).path.endswith("cat.txt")


@pytest.mark.parametrize(
    ("encoding", "squeeze"),
    [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress)],
)
async def test_an_encoding_that_was_not_asked_for_is_undone_and_counted(bench, encoding, squeeze):
    saved = await bench.fetch(reply(squeeze(PNG), content_encoding=encoding))
    assert saved.bytes == len(PNG)
    bomb = squeeze(bytes(1 << 22))
    policy = MediaPolicy(max_bytes=1 << 20)
    (bench.path / "cat.png").unlink()
    error = await bench.fails(reply(bomb, content_encoding=encoding), policy=policy)
    assert "larger than the limit" in error.message


async def test_compressed_pieces_of_nothing_do_not_hold_up_other_jobs(bench):
    longest = 0.0

    async def watch():
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - before)

    watching = asyncio.create_task(watch())
    body = gzip.compress(b"") * (8 * 1024 * 1024 // 20)
    error = await bench.fails(reply(body, content_encoding="gzip"))
    watching.cancel()
    assert "too many compressed pieces" in error.message
    assert longest < 0.25


async def test_a_compressed_body_has_the_limit_itself(bench):
    async def endless():
        yield gzip.compress(PNG)[:10] + b"\0\0\0\xff\xff" * 1000
        while True:
            yield b"\0\0\0\xff\xff" * 10_000

    class Endless(httpx.AsyncByteStream):
        def __aiter__(self):
            return endless()

    error = await bench.fails(
        reply(Endless(), content_encoding="gzip"), policy=MediaPolicy(max_bytes=1 << 20)
    )
    assert "though it is compressed" in error.message


async def test_compression_in_several_members_is_undone(bench):
    body = gzip.compress(PNG[:50]) + gzip.compress(b"") + gzip.compress(PNG[50:])
    assert (await bench.fetch(reply(body, content_encoding="gzip"))).bytes == len(PNG)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress"])
async def test_other_and_nested_encodings_are_refused(bench, encoding):
    assert encoding in (await bench.fails(reply(content_encoding=encoding))).message


@pytest.mark.parametrize("body", [gzip.compress(PNG, mtime=0)[:-20], b"no gzip at all"])
async def test_broken_compression_is_noticed(bench, body):
    await bench.fails(reply(body, content_encoding="gzip"))


async def test_three_redirects_are_followed_and_a_fourth_is_not(bench):
    hop = reply(b"", 302, location="/next")
    assert (await bench.fetch(hop, hop, hop, reply())).url == URL
    (bench.path / "cat.png").unlink()
    error = await bench.fails(hop)
    assert "redirects more than 3 times" in error.message
    assert len(bench.script.requests) == 4


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "http://cdn.example/a", "ftp://h/x", "https://u:p@h/", "//[::1", ""],
)
async def test_a_redirect_is_checked_like_the_first_url(bench, location):
    error = await bench.fails(reply(b"", 302, location=location))
    assert "refused" in error.message
    assert len(bench.script.requests) == 1


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://cdn.example/a", "https://"])
async def test_a_url_that_must_not_be_fetched_is_not_asked_for(bench, url):
    error = await bench.fails(reply(), url=url)
    assert bench.script.requests == []
    assert not error.retryable


async def test_a_data_uri_is_decoded_without_any_request(bench):
    saved = await bench.fetch(reply(), url="data:image/png;base64,iVBORw0KGgo=")
    assert bench.script.requests == []
    assert (saved.path, saved.bytes) == (str(bench.path / "cat.png"), 8)
    assert "iVBOR" not in saved.url


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(PNG).decode(),
        base64.b64encode(PNG).decode().rstrip("="),
        base64.urlsafe_b64encode(PNG).decode(),
        quote(base64.b64encode(PNG).decode(), safe=""),
        base64.encodebytes(PNG).decode(),
    ],
)
async def test_every_spelling_of_base64_gives_the_same_bytes(bench, text):
    saved = await bench.fetch(reply(), url=f"data:image/png;base64,{text}", size=len(PNG))
    assert saved.sha256 == hashlib.sha256(PNG).hexdigest()


@pytest.mark.parametrize("text", ["iVBO!Rw0KGgo=", "iVBORw0KGgo=====", "iVBO=Rw0KGgo", "iVBOé"])
async def test_base64_with_strange_characters_is_no_file(bench, text):
    assert "is broken" in (await bench.fails(reply(), url=f"data:image/png;base64,{text}")).message


async def test_padding_in_the_midst_of_a_long_data_uri_is_an_error(bench):
    text = "A" * (256 * 1024 // 3 * 4 - 2) + "==" + "AAAA"
    await bench.fails(reply(), url=f"data:image/png;base64,{text}")


async def test_a_data_uri_of_another_size_than_fals_is_an_error(bench):
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert not (await bench.fails(reply(), url=url, size=len(PNG) + 1)).retryable


@pytest.mark.parametrize("url", ["data:image/png;base64,A", "data:nothing"])
async def test_a_broken_data_uri_is_an_error_that_does_not_show_it(bench, url):
    assert "base64,A" not in (await bench.fails(reply(), url=url)).message


async def test_a_data_uri_has_the_same_limit(bench):
    url = "data:image/png;base64," + "iVBORw0K" * 100
    await bench.fails(reply(), url=url, policy=MediaPolicy(max_bytes=599))
    assert (await bench.fetch(reply(), url=url, policy=MediaPolicy(max_bytes=600))).bytes == 600


async def test_a_signature_stays_out_of_messages(bench):
    error = await bench.fails(reply(b"", 404), url=f"{URL}?Signature=secret")
    assert "secret" not in error.message


async def test_another_jobs_file_is_not_overwritten(bench):
    (bench.path / "cat.png").write_bytes(b"another job's")
    assert (await bench.fetch(reply())).path == str(bench.path / "cat-2.png")
    assert (bench.path / "cat.png").read_bytes() == b"another job's"
