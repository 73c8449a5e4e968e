import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.fal.catalogue import read_page, read_prices
from falq.fal.history import read_history
from falq.fal.reading import Reply, instant, integer, number
from falq.fal.replies import read_output, read_ref, read_status
from falq.fal.sse import MAX_EVENT_BYTES, EventReader

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def nearly(*names):
    return st.dictionaries(st.sampled_from(names), JSON, max_size=len(names))


@given(
    JSON
    | nearly(
        "status", "logs", "queue_position", "metrics", "error", "request_id", "models", "items"
    )
)
def test_no_json_of_fal_breaks_a_reader(body):
    assert read_status(body).status in {"IN_QUEUE", "IN_PROGRESS", "COMPLETED"}
    read_ref("a/b", body)
    read_page(body)
    read_prices(body)
    read_history(body)


def test_a_full_status_is_read():
    status = read_status(
        {
            "status": "COMPLETED",
            "queue_position": 0,
            "logs": [
                {"message": "10%", "timestamp": "2026-02-17T10:30:01.123Z", "level": "STDERR"},
                {"message": None},
                "nonsense",
            ],
            "metrics": {"inference_time": 3.42},
            "error": "Runner disconnected",
            "error_type": "runner_disconnected",
        }
    )
    assert status.completed
    assert status.queue_position == 0
    assert [line.message for line in status.logs] == ["10%"]
    assert status.logs[0].timestamp == "2026-02-17T10:30:01.123Z"
    assert (status.error, status.error_type) == ("Runner disconnected", "runner_disconnected")
    assert status.inference_s == 3.42


@pytest.mark.parametrize("body", [{}, {"status": "PAUSED"}, {"status": None}, [], None])
def test_an_unknown_status_counts_as_still_running(body):
    status = read_status(body)
    assert status.status == "IN_PROGRESS"
    assert status.logs == ()
    assert status.error is None


def test_a_submit_needs_nothing_but_a_request_id():
    ref = read_ref("a/b", {"request_id": "0192-abc"})
    assert ref is not None
    assert (ref.request_id, ref.status_url) == ("0192-abc", None)


@pytest.mark.parametrize("request_id", [None, 7, "", "../x", "a b", "a\nb", "x" * 201])
def test_an_id_that_cannot_stand_in_a_url_is_none(request_id):
    assert read_ref("a/b", {"request_id": request_id}) is None


def test_units_and_the_id_of_a_result_come_from_its_headers():
    headers = {"x-fal-request-id": "r1", "x-fal-billable-units": "3.008"}
    output = read_output(Reply(status=200, headers=headers, content=b'{"a": 1}'))
    assert (output.output, output.request_id, output.billable_units) == ({"a": 1}, "r1", 3.008)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01T00:00:00Z", 1767225600.0),
        ("2026-01-01T01:00:00+01:00", 1767225600.0),
        ("2026-01-01T00:00:00", 1767225600.0),
        ("2026-01-01T00:00:00.5Z", 1767225600.5),
        ("soon", None),
        (7, None),
    ],
)
def test_instants_are_read_with_and_without_a_zone(text, expected):
    assert instant(text) == expected


def test_numbers_that_are_none_are_none():
    assert [number(x) for x in (None, True, "x", "inf", [], 10**400)] == [None] * 6
    assert [integer(x) for x in (0, "3", 2.5, None)] == [0, 3, None, None]


@given(st.lists(st.dictionaries(st.text(), st.integers(), max_size=3), max_size=6), st.data())
def test_events_survive_any_cut_of_the_stream(events, data):
    stream = b": hello\n\n" + b"".join(b"data: %s\r\n\r\n" % json.dumps(e).encode() for e in events)
    reader, found = EventReader(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += reader.feed(stream[:size])
        stream = stream[size:]
    assert [json.loads(event) for event in found] == events


def test_an_endless_event_is_refused():
    reader = EventReader()
    with pytest.raises(ValueError, match="larger than"):
        reader.feed(b"data: " + b"x" * MAX_EVENT_BYTES)
