"""The real fal_client drives the sandbox; only the hosts on its httpx transport are mapped."""

import httpx
import pytest
from fal_client import AsyncClient, Completed, InProgress, Queued, SyncClient
from fal_client.client import FalClientHTTPError

from falq.sandbox import running_sandbox

FLUX = "sandbox/flux/dev"
PREFIXES = {
    "queue.fal.run": "/queue",
    "fal.run": "/run",
    "rest.fal.ai": "/rest",
    "v3.fal.media": "/cdn",
}


@pytest.fixture
def sandbox(monkeypatch):
    with running_sandbox() as running:
        used = _map_hosts(monkeypatch, running.url)
        yield running
        for transport in used:
            transport.close()


def _map_hosts(monkeypatch, url):
    # fal_client builds four httpx clients of its own and hard-codes https hosts. Their common
    # floor is httpx's transport: there a request is sent to the sandbox instead of to fal.
    origin = httpx.URL(url)

    def mapped(request):
        prefix = PREFIXES.get(request.url.host)
        if prefix is not None:
            path = prefix.encode() + request.url.raw_path
            request.url = origin.copy_with(raw_path=path)
            request.headers["Host"] = f"{origin.host}:{origin.port}"
        return request

    # The transports used are given back, as fal_client never closes its clients for uploads.
    used = set()
    send = httpx.HTTPTransport.handle_request
    send_async = httpx.AsyncHTTPTransport.handle_async_request

    def handle(self, request):
        used.add(self)
        return send(self, mapped(request))

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle)
    monkeypatch.setattr(
        httpx.AsyncHTTPTransport,
        "handle_async_request",
        lambda self, request: send_async(self, mapped(request)),
    )
    return used


@pytest.fixture
def client(sandbox):
    made = SyncClient(key="id:secret")
    yield made
    made._client.close()


def test_the_sdk_submits_and_fetches_a_result(client, sandbox):
    handle = client.submit(FLUX, {"prompt": "a cat"})
    result = handle.get()
    assert result["prompt"] == "a cat"
    assert httpx.get(result["images"][0]["url"]).content.startswith(b"\x89PNG")
    assert sandbox.posts(FLUX) == sandbox.registered(FLUX) == 1


def test_the_sdk_sees_each_state_and_the_logs(client):
    seen, lines = [], []

    def on_update(status):
        seen.append(type(status))
        lines.extend(log["message"] for log in getattr(status, "logs", None) or [])

    arguments = {"prompt": "x", "sandbox_latency": 0.5, "sandbox_queue": 0.3}
    result = client.subscribe(FLUX, arguments, with_logs=True, on_queue_update=on_update)
    assert result["images"]
    assert {Queued, InProgress, Completed} == set(seen)
    assert any("starts" in line for line in lines)
    assert any("50%" in line for line in lines)


def test_the_sdk_finds_a_request_again_by_its_id(client):
    handle = client.submit(FLUX, {"prompt": "again"})
    assert client.result(FLUX, handle.request_id)["prompt"] == "again"
    status = client.status(FLUX, handle.request_id, with_logs=True)
    assert isinstance(status, Completed)
    assert "inference_time" in status.metrics


def test_the_sdk_cancels_a_request_and_hears_when_it_is_too_late(client):
    handle = client.submit(FLUX, {"prompt": "x", "sandbox_latency": 30})
    handle.cancel()
    assert handle.status().error_type == "client_cancelled"
    with pytest.raises(FalClientHTTPError) as err:
        handle.cancel()
    assert err.value.status_code == 400


def test_the_sdk_runs_a_model_in_one_go(client, sandbox):
    assert client.run("sandbox/tts/turbo", {"text": "hello"})["audio"]["url"]
    assert sandbox.posts("sandbox/tts/turbo") == 1


def test_the_sdk_reports_bad_arguments_from_the_result(client):
    handle = client.submit(FLUX, {"num_images": 9, "prompt": "x"})
    with pytest.raises(FalClientHTTPError) as err:
        handle.get()
    assert err.value.status_code == 422
    assert "less_than_equal" in str(err.value)


def test_the_sdk_reports_a_wrong_key(sandbox):
    made = SyncClient(key="bad:key")
    with made._client, pytest.raises(FalClientHTTPError, match="invalid key credentials"):
        made.submit(FLUX, {"prompt": "x"})
    assert sandbox.registered() == 0


def test_the_sdk_uploads_a_file_that_is_served_again(client, tmp_path):
    file = tmp_path / "katze.png"
    file.write_bytes(b"\x89PNG" + bytes(range(256)) * 100)
    url = client.upload_file(file)
    served = httpx.get(url)
    assert served.content == file.read_bytes()
    assert served.headers["content-type"] == "image/png"
    assert httpx.head(url).headers["content-length"] == str(file.stat().st_size)
    part = httpx.get(url, headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, bytes(range(4)))


def test_the_sdk_uploads_by_the_rest_form_too(client):
    url = client.upload(b"hello", "text/plain", "a.txt", repository="fal")
    assert httpx.get(url).text == "hello"


def test_the_sdk_uploads_a_large_file_in_parts(client, tmp_path):
    file = tmp_path / "large.bin"
    size = 100 * 1024 * 1024 + 12_345
    with file.open("wb") as sparse:
        sparse.truncate(size)
        sparse.seek(size - 4)
        sparse.write(b"end!")
    url = client.upload_file(file)
    with httpx.stream("HEAD", url) as head:
        assert head.headers["content-length"] == str(size)
    assert httpx.get(url, headers={"Range": f"bytes={size - 4}-"}).content == b"end!"


async def test_the_asynchronous_sdk_subscribes(sandbox):
    made = AsyncClient(key="id:secret")
    result = await made.subscribe(FLUX, {"prompt": "x"}, with_logs=True)
    assert result["images"]
    await (await made._client).aclose()
