"""FalClient over a transport of its own: what goes out and what is made of the answers."""

import json
import ssl
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from falq.errors import (
    ArgumentsError,
    InvalidKeyError,
    ModelError,
    NetworkError,
    UsageError,
)
from falq.fal.client import FalClient
from falq.fal.hosts import Hosts
from falq.fal.outcomes import Accepted, Busy, Lost, LostKind, NotSent, Ran, Refused
from falq.fal.replies import CancelOutcome, KeyState
from falq.fal.signals import EndpointRefusedError, RequestNotFoundError, StillRunningError
from falq.fal.urls import RequestRef

KEY = "key-id:canary-secret"
REF = RequestRef(model_id="fal-ai/flux/dev", request_id="r1")


class FakeFal(httpx.AsyncBaseTransport):
    """Answers by method and path; an exception as an answer is raised."""

    def __init__(self, answers):
        self.answers = answers
        self.seen = []

    async def handle_async_request(self, request):
        self.seen.append(request)
        answer = self.answers[f"{request.method} {request.url.host}{request.url.path}"]
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, Exception):
            raise answer
        status, body, *headers = answer
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.Response(status, headers=dict(*headers), stream=httpx.ByteStream(content))

    @property
    def query(self):
        return parse_qs(urlsplit(str(self.seen[-1].url)).query)


def fal(answers, key=KEY):
    fake = FakeFal(answers)
    return FalClient(Hosts.real(), key, transport=fake), fake


SUBMIT = "POST queue.fal.run/fal-ai/flux/dev"
RUN = "POST fal.run/fal-ai/flux/dev"
REQUEST = "GET queue.fal.run/fal-ai/flux/requests/r1"
STATUS = f"{REQUEST}/status"
HISTORY = "GET api.fal.ai/v1/models/requests/by-endpoint"
MODELS = "GET api.fal.ai/v1/models"
SITE = "GET fal.ai/api/openapi/queue/openapi.json"
DOCUMENT = {"openapi": "3.0.4", "paths": {"/fal-ai/flux/dev": {}}}


async def test_a_submit_sends_the_arguments_with_one_content_type_and_the_key():
    client, fake = fal({SUBMIT: (200, {"request_id": "r1"})})
    outcome = await client.submit(
        "fal-ai/flux/dev",
        {"prompt": "ä"},
        headers={"X-Fal-Queue-Priority": "low", "Content-Type": "text/plain"},
    )
    assert isinstance(outcome, Accepted)
    (sent,) = fake.seen
    assert json.loads(sent.read()) == {"prompt": "ä"}
    assert sent.headers.get_list("content-type") == ["application/json"]
    assert sent.headers["authorization"] == f"Key {KEY}"
    assert sent.headers["x-fal-queue-priority"] == "low"


@pytest.mark.parametrize("arguments", [{"x": float("nan")}, {"x": {1}}, {"x": "\ud800"}, [1]])
async def test_arguments_that_are_no_json_are_refused_before_anything_is_sent(arguments):
    client, fake = fal({})
    outcome = await client.submit("fal-ai/flux/dev", arguments)
    assert isinstance(outcome, Refused)
    assert isinstance(outcome.error, ArgumentsError)
    assert fake.seen == []


@pytest.mark.parametrize(
    "error",
    [httpx.ConnectError("refused"), httpx.ConnectTimeout("dns"), httpx.PoolTimeout("full")],
)
async def test_a_connection_that_was_never_made_is_proof_that_nothing_was_sent(error):
    client, _ = fal({SUBMIT: error, RUN: error})
    for outcome in (
        await client.submit("fal-ai/flux/dev", {}),
        await client.run("fal-ai/flux/dev", {}, deadline_s=5),
    ):
        assert isinstance(outcome, NotSent)
        assert outcome.error.retryable


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ReadTimeout("slow"), LostKind.TIMEOUT),
        (httpx.WriteTimeout("slow"), LostKind.TIMEOUT),
        (TimeoutError(), LostKind.TIMEOUT),
        (httpx.ReadError("reset"), LostKind.DROPPED),
        (httpx.WriteError("reset"), LostKind.DROPPED),
        (httpx.RemoteProtocolError("gone"), LostKind.DROPPED),
        (httpx.DecodingError("gzip"), LostKind.GARBAGE),
        (ssl.SSLError("bad record mac"), LostKind.DROPPED),
        (ConnectionResetError(), LostKind.DROPPED),
    ],
)
async def test_every_other_fault_of_the_line_is_lost(error, kind):
    client, fake = fal({SUBMIT: error})
    outcome = await client.submit("fal-ai/flux/dev", {})
    assert isinstance(outcome, Lost)
    assert outcome.kind is kind
    assert outcome.error.may_be_billed
    assert len(fake.seen) == 1


async def test_a_run_gives_output_units_and_id():
    headers = {"x-fal-request-id": "r7", "x-fal-billable-units": "1.5"}
    client, _ = fal({RUN: (200, {"images": []}, headers)})
    outcome = await client.run("fal-ai/flux/dev", {}, deadline_s=5)
    assert isinstance(outcome, Ran)
    assert outcome.output.request_id == "r7"
    assert outcome.output.billable_units == 1.5


async def test_a_redirect_is_not_followed():
    client, fake = fal({SUBMIT: (307, {}, {"location": "https://evil.example/"})})
    outcome = await client.submit("fal-ai/flux/dev", {})
    assert isinstance(outcome, Lost)
    assert len(fake.seen) == 1


async def test_busy_tells_how_long_to_wait():
    client, _ = fal({SUBMIT: (429, {"detail": "wait"}, {"retry-after": "2"})})
    outcome = await client.submit("fal-ai/flux/dev", {})
    assert isinstance(outcome, Busy)
    assert outcome.retry_after_s == 2.0


@pytest.mark.parametrize("code", [200, 202])
async def test_a_status_is_read_with_any_2xx(code):
    client, fake = fal({STATUS: (code, {"status": "IN_QUEUE", "queue_position": 3})})
    status = await client.status(REF, logs=True)
    assert (status.status, status.queue_position) == ("IN_QUEUE", 3)
    assert fake.query == {"logs": ["1"]}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((404, {"status": "NOT_FOUND"}), RequestNotFoundError),
        ((405, b""), EndpointRefusedError),
        ((500, {"detail": "x", "error_type": "y"}), NetworkError),
        ((401, {"detail": "invalid key credentials"}), InvalidKeyError),
        ((200, b"<html>"), NetworkError),
        (httpx.ReadError("reset"), NetworkError),
        (httpx.ConnectError("refused"), NetworkError),
        (TimeoutError(), NetworkError),
    ],
)
async def test_a_status_that_cannot_be_had_raises(answer, kind):
    client, _ = fal({STATUS: answer})
    with pytest.raises(kind) as caught:
        await client.status(REF)
    assert caught.value.request_id == "r1"


async def test_the_rebuilt_address_is_asked_after_a_405():
    sub = "https://queue.fal.run/fal-ai/flux/dev/requests/r1"
    returned = RequestRef(
        model_id=REF.model_id, request_id="r1", status_url=f"{sub}/status", response_url=sub
    )
    client, _ = fal(
        {
            "GET queue.fal.run/fal-ai/flux/dev/requests/r1/status": (405, b""),
            "GET queue.fal.run/fal-ai/flux/dev/requests/r1": (405, b""),
            STATUS: (200, {"status": "COMPLETED"}),
            REQUEST: (200, {"ok": True}),
        }
    )
    assert (await client.status(returned)).completed
    assert (await client.result(returned)).output == {"ok": True}


async def test_the_key_never_goes_to_a_foreign_host_that_fal_named():
    foreign = RequestRef(
        model_id=REF.model_id, request_id="r1", response_url="https://evil.example/r1"
    )
    client, fake = fal({REQUEST: (200, {})})
    await client.result(foreign)
    assert [sent.url.host for sent in fake.seen] == ["queue.fal.run"]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((400, {"detail": "Request is still in progress"}), StillRunningError),
        ((422, {"detail": [{"loc": ["body"], "msg": "bad", "type": "t"}]}), ModelError),
        ((405, b""), EndpointRefusedError),
        ((404, {"detail": "?"}), RequestNotFoundError),
        ((502, b"<html>nginx"), NetworkError),
        ((200, b"{half"), NetworkError),
    ],
)
async def test_a_result_that_cannot_be_had_raises(answer, kind):
    client, _ = fal({REQUEST: answer})
    with pytest.raises(kind):
        await client.result(REF)


async def test_a_gzipped_result_is_read():
    import gzip

    body = gzip.compress(b'{"text": "hello"}')
    client, fake = fal({REQUEST: (200, body, {"content-encoding": "gzip"})})
    assert (await client.result(REF)).output == {"text": "hello"}
    assert fake.seen[0].headers["accept-encoding"] == "gzip"


async def test_a_result_past_the_limit_is_refused():
    import gzip

    body = gzip.compress(b" " * (65 * 1024 * 1024))
    client, _ = fal({REQUEST: (200, body, {"content-encoding": "gzip"})})
    with pytest.raises(NetworkError, match="larger than"):
        await client.result(REF)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ((202, {"status": "CANCELLATION_REQUESTED"}), CancelOutcome.REQUESTED),
        ((200, {"success": True}), CancelOutcome.REQUESTED),
        ((400, {"status": "ALREADY_COMPLETED"}), CancelOutcome.ALREADY_COMPLETED),
        ((404, {"status": "NOT_FOUND"}), CancelOutcome.NOT_FOUND),
    ],
)
async def test_a_cancel_has_three_outcomes(answer, outcome):
    client, _ = fal({"PUT queue.fal.run/fal-ai/flux/requests/r1/cancel": answer})
    assert await client.cancel(REF) is outcome


async def test_a_cancel_that_fal_cannot_serve_raises():
    client, _ = fal({"PUT queue.fal.run/fal-ai/flux/requests/r1/cancel": (503, b"")})
    with pytest.raises(NetworkError):
        await client.cancel(REF)


async def test_the_status_stream_gives_each_status():
    events = b'data: {"status":"IN_QUEUE"}\n\n: ping\n\ndata: {"status":"COMPLETED"}\n\n'
    client, fake = fal({f"{STATUS}/stream": (200, events)})
    assert [s.status async for s in client.status_stream(REF)] == ["IN_QUEUE", "COMPLETED"]
    assert fake.seen[0].headers["accept"] == "text/event-stream"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((405, b""), EndpointRefusedError),
        ((500, b"x"), NetworkError),
        ((200, b"data: {half\n\n"), NetworkError),
        (httpx.ReadError("reset"), NetworkError),
    ],
)
async def test_a_stream_that_is_none_raises(answer, kind):
    client, _ = fal({f"{STATUS}/stream": answer})
    with pytest.raises(kind):
        async for _ in client.status_stream(REF):
            pass


async def test_models_are_searched_with_fals_own_parameters():
    entry = {"endpoint_id": "a/b", "metadata": {"display_name": "B", "status": "deprecated"}}
    client, fake = fal({MODELS: (200, {"models": [entry, {}], "next_cursor": "Mg=="})}, key=None)
    page = await client.models(query="a&b", category="text-to-image", model_ids=["a/b", "c/d"])
    assert page.next_cursor == "Mg=="
    assert [(m.model_id, m.title, m.deprecated) for m in page.models] == [("a/b", "B", True)]
    assert fake.query["q"] == ["a&b"]
    assert fake.query["endpoint_id"] == ["a/b", "c/d"]
    assert "authorization" not in fake.seen[0].headers


async def test_a_document_comes_from_the_catalogue():
    entry = {"endpoint_id": "fal-ai/flux/dev", "openapi": DOCUMENT, "metadata": {}}
    client, _ = fal({MODELS: (200, {"models": [entry]})})
    document = await client.openapi("fal-ai/flux/dev")
    assert document.openapi == DOCUMENT
    assert not document.deprecated


@pytest.mark.parametrize(
    "catalogue",
    [
        (200, {"models": []}),
        (404, {"error": {"type": "not_found", "message": "x"}}),
        (503, b""),
        httpx.ConnectError("refused"),
        (
            200,
            {"models": [{"endpoint_id": "fal-ai/flux/dev", "openapi": {"error": {"code": "x"}}}]},
        ),
    ],
)
async def test_the_website_helps_out_without_being_told_the_key(catalogue):
    client, fake = fal({MODELS: catalogue, SITE: (200, DOCUMENT)})
    assert (await client.openapi("fal-ai/flux/dev")).openapi == DOCUMENT
    assert "authorization" not in fake.seen[-1].headers


async def test_an_unknown_model_a_failed_expansion_and_an_unreachable_fal_are_told_apart():
    unknown, _ = fal({MODELS: (200, {"models": []}), SITE: (404, {})})
    with pytest.raises(UsageError, match="knows no model"):
        await unknown.openapi("fal-ai/flux/dev")
    failed = {"error": {"code": "expansion_failed", "message": "no schema"}}
    entry = {
        "endpoint_id": "fal-ai/flux/dev",
        "openapi": failed,
        "metadata": {"status": "deprecated"},
    }
    broken, _ = fal({MODELS: (200, {"models": [entry]}), SITE: (500, b"")})
    with pytest.raises(NetworkError, match=r"deprecated model.*no schema"):
        await broken.openapi("fal-ai/flux/dev")
    down, _ = fal({MODELS: httpx.ConnectError("refused"), SITE: httpx.ConnectError("refused")})
    with pytest.raises(NetworkError, match="cannot connect"):
        await down.openapi("fal-ai/flux/dev")


async def test_prices_are_found_although_one_model_has_none():
    def row(model_id):
        return {"endpoint_id": model_id, "unit_price": 0.025, "unit": "image", "currency": "USD"}

    missing = (404, {"error": {"type": "not_found", "message": "b/b"}})
    client, _ = fal(
        {
            "GET api.fal.ai/v1/models/pricing": [
                missing,
                (200, {"prices": [row("a/a")]}),
                missing,
            ]
        }
    )
    prices = await client.pricing(["a/a", "b/b"])
    assert list(prices) == ["a/a"]
    assert (prices["a/a"].unit_price, prices["a/a"].unit) == (0.025, "image")


async def test_the_record_is_read_over_all_its_pages():
    def page(request_id, cursor):
        row = {"request_id": request_id, "endpoint_id": "a/b", "json_input": {"x": 1}}
        return (200, {"items": [row], "next_cursor": cursor, "has_more": cursor is not None})

    client, fake = fal({HISTORY: [page("r1", "Mg=="), page("r2", None)]})
    found = await client.requests_by_endpoint("a/b", start_at=1_767_225_600.25)
    assert [item.request_id for item in found.items] == ["r1", "r2"]
    assert found.whole
    assert fake.query == {
        "endpoint_id": ["a/b"],
        "limit": ["100"],
        "start": ["2026-01-01T00:00:00.250Z"],
        "expand": ["payloads"],
        "cursor": ["Mg=="],
    }


async def test_a_record_without_end_is_bounded():
    class Endless(FakeFal):
        async def handle_async_request(self, request):
            self.answers = {HISTORY: (200, {"items": [], "next_cursor": "x", "has_more": True})}
            return await super().handle_async_request(request)

    fake = Endless({})
    client = FalClient(Hosts.real(), KEY, transport=fake)
    found = await client.requests_by_endpoint("a/b", start_at=None, request_id="r")
    assert (found.items, found.whole) == ((), False)
    assert len(fake.seen) <= 20


@pytest.mark.parametrize("answer", [(404, {"error": {}}), (200, {}), (200, {"items": None})])
async def test_a_record_that_is_no_list_is_not_whole(answer):
    client, _ = fal({HISTORY: [answer]})
    assert not (await client.requests_by_endpoint("a/b", start_at=None)).whole


@pytest.mark.parametrize(
    ("code", "state"),
    [(404, KeyState.VALID), (401, KeyState.INVALID), (403, KeyState.LOCKED)],
)
async def test_the_key_is_checked_without_paying(code, state):
    class Any404(FakeFal):
        async def handle_async_request(self, request):
            self.answers = {f"GET queue.fal.run{request.url.path}": (code, {"status": "x"})}
            return await super().handle_async_request(request)

    assert await FalClient(Hosts.real(), KEY, transport=Any404({})).check_key() is state


async def test_no_key_is_missing_without_asking():
    client, fake = fal({}, key=None)
    assert await client.check_key() is KeyState.MISSING
    assert fake.seen == []


@pytest.mark.parametrize("key", ["a b", "a\nb", "ключ"])
def test_a_key_that_cannot_be_one_is_refused_and_not_shown(key):
    with pytest.raises(InvalidKeyError) as caught:
        FalClient(Hosts.real(), key)
    assert key not in str(caught.value)


async def test_a_key_has_its_whitespace_stripped():
    client, fake = fal({SUBMIT: (200, {"request_id": "r1"})}, key=f" {KEY}\n")
    await client.submit("fal-ai/flux/dev", {})
    assert fake.seen[0].headers["authorization"] == f"Key {KEY}"


async def test_an_echo_of_the_key_reaches_no_error():
    client, _ = fal({SUBMIT: (400, {"detail": f"bad header Key {KEY}"})})
    outcome = await client.submit("fal-ai/flux/dev", {})
    assert isinstance(outcome, Refused)
    assert "canary-secret" not in repr(outcome.error.to_dict())
