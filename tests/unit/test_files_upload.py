"""Uploads over a storage in memory."""

import hashlib
import json
import os

import httpx
import pytest

from falq.errors import ArgumentsError, InvalidKeyError, MissingKeyError, ModelError, NetworkError
from falq.files import local_file
from falq.files import upload as upload_module
from falq.files.local_file import look_at
from falq.files.upload import Storage, upload_file

REST = "https://rest.example"
PUT_TO = "https://store.example/files/a?signature=s"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4


class FakeStorage(httpx.AsyncBaseTransport):
    def __init__(self):
        self.requests = []
        self.bodies = {}
        self.faults = {}
        self.told = {"upload_url": PUT_TO, "file_url": "https://h/a.png"}

    async def handle_async_request(self, request):
        body = await request.aread()
        self.requests.append(request)
        name = f"{request.method} {request.url.path}"
        if self.faults.get(name):
            fault = self.faults[name].pop(0)
            if isinstance(fault, Exception):
                raise fault
            return httpx.Response(fault)
        if request.url.host == "rest.example":
            return httpx.Response(200, json=self.told)
        self.bodies[request.url.path] = body
        return httpx.Response(200, headers={"etag": f'"{request.url.path}"'})


@pytest.fixture
def fake():
    return FakeStorage()


@pytest.fixture
def upload(fake):
    async def sleep(seconds):
        return None

    async def run(path, key="id:secret", **options):
        storage = Storage(rest_url=REST, key=key, transport=fake, sleep=sleep)
        return await upload_file(str(path), storage=storage, **options)

    return run


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "my cat.PNG"
    path.write_bytes(PNG)
    return path


def read_in_pieces(monkeypatch, size):
    for module in (upload_module, local_file):
        monkeypatch.setattr(module, "PIECE_BYTES", size)


class Memory(dict):
    def put(self, key, url):
        self[key] = url


async def test_a_file_is_announced_and_put(upload, fake, picture):
    assert await upload(picture) == "https://h/a.png"
    announced, put = fake.requests
    assert announced.url == f"{REST}/storage/upload/initiate?storage_type=fal-cdn-v3"
    assert json.loads(announced.content) == {"file_name": "my_cat.PNG", "content_type": "image/png"}
    assert put.url == PUT_TO
    assert put.headers["content-length"] == str(len(PNG))
    assert put.headers["content-type"] == "image/png"
    assert fake.bodies["/files/a"] == PNG


async def test_the_key_goes_to_the_rest_role_only(upload, fake, picture):
    await upload(picture)
    assert [request.headers.get("authorization") for request in fake.requests] == [
        "Key id:secret",
        None,
    ]
    assert "secret" not in repr(Storage(rest_url=REST, key="id:secret"))


async def test_a_large_file_goes_in_sorted_parts(upload, fake, picture, monkeypatch):
    monkeypatch.setattr(upload_module, "MULTIPART_ABOVE_BYTES", 1000)
    monkeypatch.setattr(upload_module, "PART_BYTES", 100)
    read_in_pieces(monkeypatch, 100)
    seen = []
    await upload(picture, on_progress=lambda done, total: seen.append((done, total)))
    complete = fake.requests[-1]
    assert str(complete.url) == "https://store.example/files/a/complete?signature=s"
    assert json.loads(complete.content)["parts"] == [
        {"partNumber": n, "etag": f'"/files/a/{n}"'} for n in range(1, 12)
    ]
    assert b"".join(fake.bodies[f"/files/a/{n}"] for n in range(1, 12)) == PNG
    assert seen[-1] == (len(PNG), len(PNG))


async def test_a_part_that_fails_is_sent_again(upload, fake, picture, monkeypatch):
    monkeypatch.setattr(upload_module, "MULTIPART_ABOVE_BYTES", 1000)
    monkeypatch.setattr(upload_module, "PART_BYTES", 500)
    read_in_pieces(monkeypatch, 500)
    fake.faults = {
        "PUT /files/a/2": [500, httpx.ReadError("reset")],
        "POST /files/a/complete": [503],
        "POST /storage/upload/initiate-multipart": [502],
    }
    await upload(picture)
    assert b"".join(fake.bodies[f"/files/a/{n}"] for n in range(1, 4)) == PNG


async def test_a_part_that_goes_on_failing_ends_the_upload(upload, fake, picture, monkeypatch):
    monkeypatch.setattr(upload_module, "MULTIPART_ABOVE_BYTES", 1000)
    fake.faults = {"PUT /files/a/1": [500] * 99}
    with pytest.raises(NetworkError, match="500"):
        await upload(picture)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(401, InvalidKeyError), (403, InvalidKeyError), (413, ModelError), (400, ModelError)],
)
async def test_a_refusal_is_final(upload, fake, picture, fault, kind):
    fake.faults = {"POST /storage/upload/initiate": [fault]}
    with pytest.raises(kind):
        await upload(picture)
    assert len(fake.requests) == 1


@pytest.mark.parametrize("url", ["http://store.example/a", "file:///etc/x", "https://u:p@h/"])
async def test_bytes_go_over_https_only(upload, fake, picture, url):
    fake.told["upload_url"] = url
    with pytest.raises(NetworkError):
        await upload(picture)
    assert len(fake.requests) == 1


async def test_an_answer_without_addresses_is_an_error(upload, fake, picture):
    fake.told = {"detail": "?"}
    with pytest.raises(NetworkError):
        await upload(picture)


async def test_without_a_key_nothing_is_sent(upload, fake, picture):
    with pytest.raises(MissingKeyError):
        await upload(picture, key=None)
    assert fake.requests == []


@pytest.mark.parametrize("key", ["", "id:se cret", "id:secret\n", "id:sécret"])
async def test_a_key_that_can_be_none_is_refused_without_being_shown(upload, fake, picture, key):
    with pytest.raises(InvalidKeyError) as error:
        await upload(picture, key=key)
    assert "cret" not in str(error.value)
    assert fake.requests == []


async def test_the_same_content_is_uploaded_once(upload, fake, picture, tmp_path):
    cache = Memory()
    copy = tmp_path / "copy.png"
    copy.write_bytes(PNG)
    assert await upload(picture, cache=cache) == await upload(copy, cache=cache)
    assert [request.method for request in fake.requests] == ["POST", "PUT", "HEAD"]
    assert list(cache) == [f"{hashlib.sha256(PNG).hexdigest()}:image/png:png"]


async def test_the_same_bytes_under_another_suffix_get_an_address_of_their_own(
    upload, fake, picture, tmp_path
):
    cache = Memory()
    await upload(picture, cache=cache)
    fake.told = fake.told | {"file_url": "https://h/a.gif"}
    (tmp_path / "a.gif").write_bytes(PNG)
    assert await upload(tmp_path / "a.gif", cache=cache) == "https://h/a.gif"


@pytest.mark.parametrize("gone", [404, 410])
async def test_an_address_that_leads_nowhere_any_more_is_not_handed_out(
    upload, fake, picture, gone
):
    cache = Memory()
    await upload(picture, cache=cache)
    fake.faults["HEAD /a.png"] = [gone]
    fake.told = fake.told | {"file_url": "https://h/again.png"}
    assert await upload(picture, cache=cache) == "https://h/again.png"
    assert list(cache.values()) == ["https://h/again.png"]


@pytest.mark.parametrize("fault", [403, 405, 503, httpx.ConnectError("away")])
async def test_an_address_of_which_nobody_says_that_it_is_dead_is_used(
    upload, fake, picture, fault
):
    cache = Memory()
    url = await upload(picture, cache=cache)
    fake.faults["HEAD /a.png"] = [fault]
    fake.told = fake.told | {"file_url": "https://h/again.png"}
    assert await upload(picture, cache=cache) == url


async def test_whoever_wants_it_sent_again_gets_that(upload, fake, picture):
    cache = Memory()
    await upload(picture, cache=cache)
    fake.told = fake.told | {"file_url": "https://h/again.png"}
    assert await upload(picture, cache=cache, fresh=True) == "https://h/again.png"
    assert "HEAD" not in [request.method for request in fake.requests]


@pytest.mark.parametrize("change", ["other bytes", "more bytes"])
async def test_a_file_that_changes_after_it_was_hashed_is_not_remembered(
    upload, fake, picture, monkeypatch, change
):
    class Changing(Memory):
        def get(self, key):
            picture.write_bytes(PNG[::-1] if change == "other bytes" else PNG + b"more")

    cache = Changing()
    with pytest.raises(ArgumentsError, match="changed while it was uploaded"):
        await upload(picture, cache=cache)
    assert not cache


async def test_a_file_url_is_a_path(upload, tmp_path):
    (tmp_path / "a b.png").write_bytes(PNG)
    assert await upload(f"file://{tmp_path}/a%20b.png")
    assert await upload(f"file://localhost{tmp_path}/a%20b.png")


@pytest.mark.parametrize("kind", ["missing", "directory", "empty", "fifo", "nul"])
async def test_what_cannot_be_uploaded_is_told_before_anything_is_sent(
    upload, fake, tmp_path, kind
):
    path = tmp_path / kind
    if kind == "directory":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "fifo":
        os.mkfifo(path)
    with pytest.raises(ArgumentsError) as error:
        await upload("a\0b" if kind == "nul" else path)
    assert error.value.exit_code == 2
    assert fake.requests == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_told(picture):
    picture.chmod(0)
    with pytest.raises(ArgumentsError, match="permission denied"):
        look_at(str(picture))


async def test_a_file_that_shrinks_meanwhile_is_noticed(upload, fake, picture, monkeypatch):
    def shrinking(sent, whole):
        os.truncate(picture, 10)

    read_in_pieces(monkeypatch, 100)
    with pytest.raises(ArgumentsError, match="changed"):
        await upload(picture, on_progress=shrinking)


@pytest.mark.parametrize(
    ("name", "body", "kind"),
    [
        ("a.webp", b"RIFF\0\0\0\0WEBP", "image/webp"),
        ("a.mp3", b"\0\0\0", "audio/mpeg"),
        ("a.png", b"\xff\xd8\xff", "image/jpeg"),
        ("a.webm", b"\x1a\x45\xdf\xa3webm", "video/webm"),
        ("a.unheard-of", b"\0", "application/octet-stream"),
        ("a.csv", b"a,b", "text/csv"),
    ],
)
def test_the_content_type_is_that_of_the_bytes(tmp_path, name, body, kind):
    (tmp_path / name).write_bytes(body)
    assert look_at(str(tmp_path / name)).content_type == kind


def test_a_home_directory_is_expanded(tmp_path, monkeypatch, picture):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert look_at("~/my cat.PNG").bytes == len(PNG)
