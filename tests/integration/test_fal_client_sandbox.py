"""FalClient against the sandbox: whole lives of requests, as a pipeline goes through them."""

import asyncio
import time
import uuid

import pytest

from falq.errors import (
    AccountError,
    ContentPolicyError,
    InvalidKeyError,
    ModelError,
    NetworkError,
    UsageError,
)
from falq.fal.client import FalClient
from falq.fal.history import CLOCK_SLACK_S, HistoryVerdict, candidates, history_verdict
from falq.fal.hosts import Hosts
from falq.fal.outcomes import Accepted, Busy, Lost, LostKind, Ran, Refused
from falq.fal.replies import CancelOutcome, KeyState
from falq.fal.signals import EndpointRefusedError, RequestNotFoundError, StillRunningError
from falq.fal.urls import RequestRef
from falq.sandbox import running_sandbox

FLUX = "sandbox/flux/dev"
ARGUMENTS = {"prompt": "a cat", "image_size": "square"}


@pytest.fixture(scope="module")
def sandbox():
    with running_sandbox(latency=0.15) as running:
        yield running


@pytest.fixture
async def fal(sandbox):
    async with FalClient(Hosts.under(sandbox.url), "id:secret") as client:
        yield client


async def accepted(fal, model_id=FLUX, **arguments):
    outcome = await fal.submit(model_id, ARGUMENTS | arguments)
    assert isinstance(outcome, Accepted)
    return outcome.ref


async def completed(fal, ref):
    async with asyncio.timeout(10):
        while not (status := await fal.status(ref, logs=True)).completed:
            await asyncio.sleep(0.02)
    return status


def unique():
    return {**ARGUMENTS, "prompt": str(uuid.uuid4())}


async def alike(fal, model_id, arguments, intent_at):
    since = intent_at - CLOCK_SLACK_S  # the history tells whole milliseconds, cut off
    history = await fal.requests_by_endpoint(model_id, start_at=since)
    assert history.whole
    assert abs(history.ahead_s) < 5
    return candidates(
        history.items, model_id=model_id, arguments=arguments, since=since, near=intent_at
    )


async def look_up(fal, model_id, arguments, intent_at):
    return next(iter(await alike(fal, model_id, arguments, intent_at)), None)


async def test_a_request_goes_through_its_whole_life(fal):
    ref = await accepted(fal)
    with pytest.raises(StillRunningError):
        await fal.result(ref)
    status = await completed(fal, ref)
    assert status.logs
    output = await fal.result(ref)
    assert output.output["images"][0]["url"]
    assert output.request_id == ref.request_id
    assert output.billable_units is not None
    assert await fal.cancel(ref) is CancelOutcome.ALREADY_COMPLETED


async def test_the_stream_tells_of_the_end_without_polling(fal):
    ref = await accepted(fal)
    seen = [status.status async for status in fal.status_stream(ref, logs=True)]
    assert seen[-1] == "COMPLETED"


async def test_a_sync_run_gives_its_output(fal):
    outcome = await fal.run(FLUX, ARGUMENTS, deadline_s=10)
    assert isinstance(outcome, Ran)
    assert outcome.output.output["images"]
    assert outcome.output.request_id


async def test_a_running_request_takes_a_cancel_and_an_unknown_one_does_not(fal):
    assert await fal.cancel(await accepted(fal)) is CancelOutcome.REQUESTED
    unknown = RequestRef(model_id=FLUX, request_id=str(uuid.uuid4()))
    assert await fal.cancel(unknown) is CancelOutcome.NOT_FOUND
    with pytest.raises(RequestNotFoundError):
        await fal.status(unknown)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("drop", LostKind.DROPPED),
        ("drop-registered", LostKind.DROPPED),
        ("truncated", LostKind.DROPPED),
        ("garbage", LostKind.GARBAGE),
        ("405", LostKind.METHOD_NOT_ALLOWED),
        ("500", LostKind.SERVER_ERROR),
        ("html-502", LostKind.SERVER_ERROR),
        ("504", LostKind.GATEWAY_TIMEOUT),
        ("hang", LostKind.TIMEOUT),
        ("slow-loris", LostKind.TIMEOUT),
    ],
)
@pytest.mark.parametrize("call", ["submit", "run"])
async def test_each_fault_of_a_paid_post_is_one_post_and_one_kind(sandbox, fal, fault, kind, call):
    model_id = f"sandbox/fault/{fault}"
    before = sandbox.posts(model_id)
    outcome = await getattr(fal, call)(model_id, ARGUMENTS, deadline_s=0.7)
    assert isinstance(outcome, Lost)
    assert outcome.kind is kind
    assert sandbox.posts(model_id) == before + 1


@pytest.mark.parametrize("call", ["submit", "run"])
async def test_a_429_is_busy_for_as_long_as_it_says(fal, call):
    outcome = await getattr(fal, call)("sandbox/fault/429/2", ARGUMENTS, deadline_s=5)
    assert isinstance(outcome, Busy)
    assert outcome.retry_after_s == 2.0


async def test_a_request_whose_reply_was_lost_is_found_and_followed(fal):
    model_id, arguments, intent_at = "sandbox/fault/drop-registered", unique(), time.time()
    assert isinstance(await fal.submit(model_id, arguments), Lost)
    ours = await look_up(fal, model_id, arguments, intent_at)
    assert ours is not None
    ref = RequestRef(model_id=model_id, request_id=ours.request_id)
    await completed(fal, ref)
    assert (await fal.result(ref)).output["images"]
    ended = await look_up(fal, model_id, arguments, intent_at)
    assert history_verdict(ended) is HistoryVerdict.SUCCEEDED
    assert ended.output["images"]


async def test_two_equal_jobs_whose_replies_were_lost_find_two_requests(fal):
    model_id, arguments, intent_at = "sandbox/fault/drop-registered", unique(), time.time()
    for _ in range(2):
        await fal.submit(model_id, arguments)
    ours = await alike(fal, model_id, arguments, intent_at)
    assert len({item.request_id for item in ours}) == 2


async def test_a_request_that_never_arrived_is_not_found(fal):
    arguments, intent_at = unique(), time.time()
    await fal.submit("sandbox/fault/drop", arguments)
    assert await look_up(fal, "sandbox/fault/drop", arguments, intent_at) is None


@pytest.mark.parametrize(
    ("fault", "kind"), [("422", ModelError), ("content-policy", ContentPolicyError)]
)
async def test_a_request_that_fails_says_so_at_its_result_and_in_a_run(fal, fault, kind):
    model_id = f"sandbox/fault/{fault}"
    ref = await accepted(fal, model_id)
    await completed(fal, ref)
    with pytest.raises(kind) as caught:
        await fal.result(ref)
    assert caught.value.request_id == ref.request_id
    assert caught.value.detail
    outcome = await fal.run(model_id, ARGUMENTS, deadline_s=5)
    assert isinstance(outcome, Refused)
    assert isinstance(outcome.error, kind)


async def test_a_request_that_completes_with_an_error_tells_it_in_the_status(fal):
    ref = await accepted(fal, "sandbox/fault/completed-with-error")
    assert (await completed(fal, ref)).error
    with pytest.raises(ModelError):
        await fal.result(ref)


@pytest.mark.parametrize(
    "fault", ["missing-fields", "unknown-status", "foreign-urls", "back-to-queue"]
)
async def test_odd_replies_do_not_hinder_a_request(fal, fault):
    ref = await accepted(fal, f"sandbox/fault/{fault}")
    await completed(fal, ref)
    assert (await fal.result(ref)).output["images"]


async def test_endpoints_that_refuse_for_ever_are_told_from_hiccups(fal):
    status = await accepted(fal, "sandbox/fault/status-405")
    with pytest.raises(EndpointRefusedError):
        await fal.status(status)
    hiccup = await accepted(fal, "sandbox/fault/status-500")
    with pytest.raises(NetworkError):
        await fal.status(hiccup)
    result = await accepted(fal, "sandbox/fault/result-405")
    await completed(fal, result)
    with pytest.raises(EndpointRefusedError):
        await fal.result(result)


async def test_a_result_with_the_response_suffix_is_found(fal):
    ref = await accepted(fal, "sandbox/fault/response-suffix")
    await completed(fal, ref)
    assert (await fal.result(ref)).output["images"]


async def test_the_catalogue_gives_models_documents_and_prices(fal):
    page = await fal.models(query="flux", expand_openapi=True)
    assert FLUX in {entry.model_id for entry in page.models}
    document = await fal.openapi(FLUX)
    assert f"/{FLUX}" in document.openapi["paths"]
    assert (await fal.openapi("sandbox/deprecated-model")).deprecated
    with pytest.raises(UsageError):
        await fal.openapi("sandbox/no-such-model")
    prices = await fal.pricing([FLUX])
    assert prices[FLUX].unit_price > 0


async def test_a_schema_that_fal_cannot_make_is_a_clear_error(fal):
    with pytest.raises(NetworkError, match="schema of the model 'sandbox/broken-schema'"):
        await fal.openapi("sandbox/broken-schema")


async def test_keys_are_told_apart(sandbox, fal):
    assert await fal.check_key() is KeyState.VALID
    hosts = Hosts.under(sandbox.url)
    async with FalClient(hosts, "bad-key") as client:
        assert await client.check_key() is KeyState.INVALID
        outcome = await client.submit(FLUX, ARGUMENTS)
        assert isinstance(outcome, Refused)
        assert isinstance(outcome.error, InvalidKeyError)
    async with FalClient(hosts, None) as client:
        assert await client.check_key() is KeyState.MISSING
        outcome = await client.submit(FLUX, ARGUMENTS)
        assert isinstance(outcome, Refused)
        assert isinstance(outcome.error, AccountError)
