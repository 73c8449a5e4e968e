import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.errors import (
    AccountError,
    BalanceError,
    ContentPolicyError,
    InvalidKeyError,
    JobCancelledError,
    ModelError,
    NetworkError,
)
from falq.fal.problems import (
    paid_problem,
    read_problem,
    result_problem,
    retry_after,
    words,
)
from falq.fal.reading import Reply
from falq.fal.redaction import MAX_JSON_CHARS, clean, clean_text
from falq.fal.signals import EndpointRefusedError, RequestNotFoundError, StillRunningError

LOCKED = "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard"
POLICY = [{"loc": ["body", "prompt"], "msg": "refused", "type": "content_policy_violation"}]
NGINX = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


def reply(status, body=None, headers=None):
    content = (
        body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    )
    return Reply(status=status, headers=headers or {}, content=content)


def result(given_reply):
    return result_problem(given_reply, model_id="a/b", request_id="r1")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"detail": "Path /x not found"}, "Path /x not found"),
        ({"detail": [{"loc": ["body", "prompt"], "msg": "field required"}]}, "prompt: field"),
        ({"detail": [{"loc": ["body", "a", 0], "type": "missing"}, "odd"]}, "a.0: missing; odd"),
        ({"error": {"type": "validation_error", "message": "bad limit"}}, "bad limit"),
        ({"error": "no", "error_type": "x"}, "no"),
        ({"status": "NOT_FOUND"}, "NOT_FOUND"),
        ([{"loc": ["q"], "msg": "bad"}], "q: bad"),
        (NGINX, "page of HTML"),
        (b"plain words", "plain words"),
        (b"", "HTTP 422 without a reason"),
        (b"\xff\xfe", "\ufffd"),
        ({"detail": None}, "without a reason"),
    ],
)
def test_fals_own_words_are_found_in_every_shape(body, expected):
    assert expected in words(reply(422, body))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(401, {"detail": "invalid key credentials"}), InvalidKeyError),
        (reply(403, {"detail": LOCKED}), BalanceError),
        (reply(403, {"detail": "Access denied"}), AccountError),
        (reply(404, {"status": "NOT_FOUND"}), RequestNotFoundError),
        (reply(405), EndpointRefusedError),
        (reply(400, {"detail": "Request is still in progress"}), StillRunningError),
        (reply(408), NetworkError),
        (reply(429, {"detail": "slow down"}), NetworkError),
        (reply(500, {"detail": "Internal Server Error"}), NetworkError),
        (reply(502, NGINX), NetworkError),
        (reply(503), NetworkError),
        (reply(302), NetworkError),
        (reply(400, {"detail": "bad image"}), ModelError),
        (reply(422, {"detail": POLICY}), ContentPolicyError),
        (reply(504, {"detail": "timed out", "error_type": "request_timeout"}), ModelError),
        (reply(500, {"detail": "oops"}, {"x-fal-request-id": "r1"}), ModelError),
        (reply(503, b"", {"x-fal-error-type": "runner_disconnected"}), ModelError),
        (reply(404, {"detail": "gone", "error_type": "bad_request"}), ModelError),
        (reply(499, {"detail": "c", "error_type": "client_cancelled"}), JobCancelledError),
    ],
)
def test_a_result_that_fails_becomes_the_right_error(answer, kind):
    error = result(answer)
    assert type(error) is kind
    assert error.request_id == "r1"
    assert error.model_id == "a/b"


@pytest.mark.parametrize(
    ("status", "headers", "billed"),
    [
        (422, {}, True),
        (422, {"x-fal-billable-units": "0"}, False),
        (500, {"x-fal-error-type": "internal_error"}, False),
        (500, {"x-fal-error-type": "x", "x-fal-billable-units": "1"}, True),
        (400, {}, False),
    ],
)
def test_what_a_failed_request_may_cost_is_said(status, headers, billed):
    assert result(reply(status, {"detail": "x"}, headers)).may_be_billed is billed


def test_a_status_read_never_takes_a_5xx_for_the_requests_end():
    answer = reply(500, {"detail": "x", "error_type": "y"}, {"x-fal-request-id": "r"})
    error = read_problem(answer, model_id="a/b", request_id="r")
    assert isinstance(error, NetworkError)
    assert error.retryable


def test_a_refused_submit_costs_nothing_and_a_refused_run_may():
    answer = reply(422, {"detail": POLICY})
    assert not paid_problem(answer, model_id="a/b", ran=False).may_be_billed
    assert paid_problem(answer, model_id="a/b", ran=True).may_be_billed


def test_the_detail_is_kept_without_echoes_and_files():
    entry = {
        "loc": ["body", "image_url"],
        "msg": "cannot load data:image/png;base64," + "A" * 9000,
        "type": "image_load_error",
        "input": {"prompt": "my secret plan"},
        "ctx": {"url": "data:image/png;base64,QUJD", "input": "again"},
    }
    error = result(reply(422, {"detail": [entry]}))
    shown = json.dumps(error.to_dict())
    assert "base64" not in shown
    assert "secret plan" not in shown
    assert "again" not in shown
    assert error.detail[0]["type"] == "image_load_error"


def test_a_key_that_fal_echoes_is_not_shown():
    key = "12345678-1234-1234-1234-123456789abc:0123456789abcdef0123456789abcdef"
    error = result(reply(422, {"detail": f"bad {key}"}))
    assert "0123456789abcdef" not in json.dumps(error.to_dict())


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "1e99"}, 3600.0),
        ({"retry-after": "nan"}, None),
        ({"x-ratelimit-reset": "12"}, 12.0),
        (
            {
                "retry-after": "Mon, 23 Nov 2026 00:00:30 GMT",
                "date": "Mon, 23 Nov 2026 00:00:00 GMT",
            },
            30.0,
        ),
        ({"retry-after": "Mon, 23 Nov 2026 00:00:30 GMT"}, None),
    ],
)
def test_the_wait_that_fal_asks_for_is_read(headers, expected):
    assert retry_after(headers) == expected


@given(st.binary(max_size=300), st.integers(300, 599))
def test_no_answer_is_without_an_error(body, status):
    answer = reply(status, body)
    for error in (
        result(answer),
        read_problem(answer),
        paid_problem(answer, model_id="a/b", ran=True),
    ):
        assert str(error).strip()
        assert str(error).isprintable()


@given(st.text())
def test_a_cleaned_text_is_short_and_printable_on_one_line(text):
    shown = clean_text(text + "\x1b[31m\u202e\n")
    assert len(shown) <= 501
    assert not set(shown) & set("\x1b\n\r\u202e")


def test_deep_and_wide_json_is_cut():
    deep: object = "x"
    for _ in range(50):
        deep = [deep] * 3
    assert len(json.dumps(clean(deep))) <= MAX_JSON_CHARS
    assert len(clean(list(range(1000)))) == 20
    assert clean([["x" * 400] * 20] * 20) is None
