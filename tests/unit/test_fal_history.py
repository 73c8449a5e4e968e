import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.canonical import canonical
from falq.errors import ContentPolicyError, ModelError
from falq.fal.history import (
    HistoryItem,
    HistoryVerdict,
    candidates,
    history_problem,
    history_verdict,
    left_by,
    may_be_ours,
    read_history,
)

INTENT_AT = 1_767_225_600.0
ARGUMENTS = {"prompt": "a cat", "n": 1}


def item(request_id="r1", **fields):
    known = {
        "model_id": "a/b/c",
        "sent_at": INTENT_AT + 1,
        "has_arguments": True,
        "arguments": dict(ARGUMENTS),
    }
    return HistoryItem(request_id=request_id, **(known | fields))


def find(*items):
    found = candidates(
        items, model_id="a/b/c", arguments=ARGUMENTS, since=INTENT_AT - 60, near=INTENT_AT
    )
    return found[0].request_id if found else None


def test_ours_is_found_by_its_arguments_in_any_order_of_keys():
    assert find(item(arguments={"n": 1.0, "prompt": "a cat"})) == "r1"


@pytest.mark.parametrize(
    "other",
    [
        item(arguments={"prompt": "a dog", "n": 1}),
        item(arguments={**ARGUMENTS, "seed": 1}),
        item(arguments={"prompt": "a cat", "n": True}),
        item(arguments=None, has_arguments=False),
        item(model_id="a/b"),
        item(sent_at=INTENT_AT - 61),
        item(sent_at=None),
    ],
)
def test_what_only_resembles_ours_is_not_ours(other):
    assert find(other) is None


def test_a_clock_that_is_a_minute_apart_is_forgiven():
    assert find(item(sent_at=INTENT_AT - 59)) == "r1"
    assert find(item(sent_at=None, started_at=INTENT_AT + 5)) == "r1"


def test_two_equal_jobs_find_two_requests():
    first, second = item("r1", sent_at=INTENT_AT + 1), item("r2", sent_at=INTENT_AT + 2)
    assert find(second, first) == "r1"
    assert find(second) == "r2"


@given(st.permutations(range(5)))
def test_candidates_come_nearest_first_in_whatever_order_fal_lists_them(order):
    items = [item(f"r{n}", sent_at=INTENT_AT + n) for n in order]
    found = candidates(
        items, model_id="a/b/c", arguments=ARGUMENTS, since=INTENT_AT, near=INTENT_AT
    )
    assert [each.request_id for each in found] == ["r0", "r1", "r2", "r3", "r4"]


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({}, HistoryVerdict.RUNNING),
        ({"ended_at": INTENT_AT + 5}, HistoryVerdict.RUNNING),
        ({"status_code": 200}, HistoryVerdict.SUCCEEDED),
        ({"ended_at": INTENT_AT + 5, "has_output": True, "output": {}}, HistoryVerdict.SUCCEEDED),
        ({"status_code": 422}, HistoryVerdict.FAILED),
        ({"status_code": 500, "ended_at": INTENT_AT + 5}, HistoryVerdict.FAILED),
    ],
)
def test_the_record_says_what_became_of_a_request(fields, verdict):
    assert history_verdict(item(**fields)) is verdict


def test_a_failure_in_the_record_keeps_fals_words():
    detail = [{"loc": ["body"], "msg": "not allowed", "type": "content_policy_violation"}]
    failed = item(status_code=422, has_output=True, output={"detail": detail})
    error = history_problem(failed)
    assert isinstance(error, ContentPolicyError)
    assert "not allowed" in str(error)
    assert error.request_id == "r1"
    assert isinstance(history_problem(item(status_code=401)), ModelError)


def test_a_row_is_read_with_its_times_and_without_payloads_in_platform_request():
    row = {
        "request_id": "r1",
        "endpoint_id": "a/b/c",
        "started_at": "2026-01-01T00:00:01Z",
        "sent_at": "2026-01-01T00:00:00Z",
        "ended_at": None,
        "status_code": None,
        "json_input": ARGUMENTS,
    }
    (read,) = read_history({"items": [row, {"request_id": "r2"}, None]})
    assert read.seen_at == INTENT_AT
    assert read.has_arguments
    assert not read.has_output
    shown = read.to_platform_request()
    assert shown["endpoint_id"] == "a/b/c"
    assert "a cat" not in str(shown)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.text(), JSON))
def test_canonical_text_does_not_depend_on_the_order_of_keys(arguments):
    assert canonical(dict(reversed(arguments.items()))) == canonical(arguments)


def test_each_equal_job_that_waits_is_left_the_request_nearest_to_it():
    items = [item(f"r{n}", sent_at=INTENT_AT + n) for n in range(4)]
    left = left_by([INTENT_AT + 2.2, INTENT_AT + 0.1], items)
    assert [each.request_id for each in left] == ["r1", "r3"]
    assert left_by([INTENT_AT] * 9, items) == []


@pytest.mark.parametrize(
    ("arguments", "maybe"),
    [
        ({**ARGUMENTS, "seed": 7}, True),
        ({"prompt": " a cat\n", "n": 1.0}, True),
        ({"prompt": ["a cat"], "n": "1"}, True),
        ({}, True),
        ({"prompt": "a dog", "n": 1}, False),
        ({"prompt": "a cat", "n": 2}, False),
    ],
)
def test_only_a_value_that_differs_shows_another_request(arguments, maybe):
    found = item(arguments=arguments)
    assert may_be_ours(found, arguments=ARGUMENTS, since=INTENT_AT) is maybe


def test_addresses_may_be_rewritten_and_what_is_too_old_is_not_ours():
    ours = {"image_url": "data:image/png;base64,AA", "flag": True}
    theirs = item(arguments={"image_url": "https://cdn/x.png", "flag": True})
    assert may_be_ours(theirs, arguments=ours, since=INTENT_AT)
    assert not may_be_ours(theirs, arguments=ours, since=INTENT_AT + 2)
    other = item(arguments={"image_url": "https://cdn/x.png", "flag": False})
    assert not may_be_ours(other, arguments=ours, since=INTENT_AT)
