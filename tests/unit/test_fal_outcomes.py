import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.errors import BalanceError, ContentPolicyError, InvalidKeyError, ModelError
from falq.fal.outcomes import (
    Accepted,
    Busy,
    Lost,
    LostKind,
    Ran,
    Refused,
    read_run,
    read_submit,
)
from falq.fal.reading import Reply

LIMIT = {"detail": "Reached concurrent requests limit of 2", "type": "concurrent_requests_limit"}


def reply(status, body=None, headers=None):
    content = (
        body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    )
    return Reply(status=status, headers=headers or {}, content=content)


def test_a_submit_with_an_id_is_accepted():
    body = {"request_id": "r1", "queue_position": 0, "status_url": "https://queue.fal.run/s"}
    outcome = read_submit("a/b", reply(200, body))
    assert isinstance(outcome, Accepted)
    assert outcome.ref.request_id == "r1"
    assert outcome.ref.status_url == "https://queue.fal.run/s"
    assert outcome.queue_position == 0


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"request_id": "r', {}, [], {"request_id": 3}])
def test_a_submit_without_an_id_is_lost(body):
    outcome = read_submit("a/b", reply(200, body))
    assert isinstance(outcome, Lost)
    assert outcome.kind is LostKind.GARBAGE
    assert outcome.error.may_be_billed
    assert not outcome.error.retryable


@pytest.mark.parametrize("read", [read_submit, read_run])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, LostKind.GARBAGE),
        (405, LostKind.METHOD_NOT_ALLOWED),
        (408, LostKind.GATEWAY_TIMEOUT),
        (409, LostKind.GATEWAY_TIMEOUT),
        (500, LostKind.SERVER_ERROR),
        (502, LostKind.SERVER_ERROR),
        (503, LostKind.SERVER_ERROR),
        (504, LostKind.GATEWAY_TIMEOUT),
        (520, LostKind.SERVER_ERROR),
    ],
)
def test_an_answer_that_proves_nothing_is_lost(read, status, kind):
    outcome = read("a/b", reply(status, b"<html>nginx", {"x-fal-request-id": "r9"}))
    assert isinstance(outcome, Lost)
    assert (outcome.kind, outcome.request_id) == (kind, "r9")


@pytest.mark.parametrize("read", [read_submit, read_run])
def test_a_429_is_busy_and_tells_how_long(read):
    outcome = read("a/b", reply(429, LIMIT, {"retry-after": "3"}))
    assert isinstance(outcome, Busy)
    assert outcome.retry_after_s == 3.0
    assert "concurrent requests" in str(outcome.error)
    assert outcome.error.retryable
    assert not outcome.error.may_be_billed


@pytest.mark.parametrize("read", [read_submit, read_run])
def test_a_429_that_came_as_a_200_is_busy_too(read):
    assert isinstance(read("a/b", reply(200, LIMIT)), Busy)


@pytest.mark.parametrize("read", [read_submit, read_run])
@pytest.mark.parametrize(
    ("status", "detail", "kind"),
    [
        (400, "bad", ModelError),
        (401, "invalid key credentials", InvalidKeyError),
        (403, "User is locked. Reason: TOP_UP", BalanceError),
        (404, "Path /x not found", ModelError),
        (413, "too large", ModelError),
        (422, [{"type": "content_policy_violation", "msg": "no"}], ContentPolicyError),
    ],
)
def test_a_final_refusal_says_why(read, status, detail, kind):
    outcome = read("a/b", reply(status, {"detail": detail}))
    assert isinstance(outcome, Refused)
    assert type(outcome.error) is kind
    assert outcome.error.model_id == "a/b"


def test_a_run_gives_its_output_whatever_json_it_is():
    headers = {"x-fal-request-id": "r1", "x-fal-billable-units": "2"}
    outcome = read_run("a/b", reply(200, [1, 2], headers))
    assert isinstance(outcome, Ran)
    assert (outcome.output.output, outcome.output.request_id) == ([1, 2], "r1")


def test_fals_own_word_that_a_run_failed_is_told_from_a_gateways():
    own = {"detail": "Request timed out", "error_type": "request_timeout"}
    ended = read_run("a/b", reply(504, own, {"x-fal-request-id": "r1"}))
    assert isinstance(ended, Lost)
    assert ended.failed_at_fal
    assert not ended.error.may_be_billed
    gateway = read_run("a/b", reply(504, b"<html>"))
    assert isinstance(gateway, Lost)
    assert not gateway.failed_at_fal
    assert gateway.error.may_be_billed


@given(st.integers(200, 599), st.binary(max_size=200))
def test_only_a_proof_allows_sending_again(status, body):
    for outcome in (read_submit("a/b", reply(status, body)), read_run("a/b", reply(status, body))):
        if isinstance(outcome, Busy):
            assert status == 429
        if isinstance(outcome, Refused):
            assert 400 <= status < 500
