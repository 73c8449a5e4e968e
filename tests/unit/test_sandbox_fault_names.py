from collections import Counter

import pytest

from falq.sandbox.faults import (
    KINDS,
    FaultBook,
    aim,
    faults_of_id,
    find_view,
    find_wire,
    make_fault,
    parse_faults,
    status_code,
)
from falq.sandbox.history import HistoryQuery


def named(faults):
    return [(fault.name, dict(fault.params)) for fault in faults]


@pytest.mark.parametrize(
    ("model_id", "expected"),
    [
        ("sandbox/flux/dev", []),
        ("sandbox/fault/hang", [("hang", {})]),
        ("sandbox/fault/429/2", [("429", {"retry_after": "2"})]),
        ("sandbox/fault/hang/history-late/3", [("hang", {}), ("history-late", {"seconds": "3"})]),
        ("sandbox/fault/cdn-size/500", [("cdn-size", {"bytes": "500"})]),
        ("sandbox/fault/status-500/2", [("status-500", {"times": "2"})]),
        ("sandbox/fault/hang/503", [("hang", {}), ("503", {})]),
    ],
)
def test_a_model_id_names_its_faults(model_id, expected):
    assert named(faults_of_id(model_id)) == expected


def test_a_header_names_several_faults_with_parameters():
    found = parse_faults("hang, history-late:3, 429; retry_after=2; times=1")
    assert named(found) == [
        ("hang", {}),
        ("history-late", {"seconds": "3"}),
        ("429", {"retry_after": "2", "times": "1"}),
    ]


def test_an_address_may_stand_after_the_colon():
    fault = make_fault("redirect-to:http://169.254.169.254/x", op="cdn")
    assert named([fault]) == [("cdn-redirect-to", {"url": "http://169.254.169.254/x"})]


@pytest.mark.parametrize("name", ["", "hangs", "600", "status-200", "cdn-nothing"])
def test_a_name_that_is_no_fault_is_refused(name):
    with pytest.raises(ValueError, match="unknown fault"):
        make_fault(name)


@pytest.mark.parametrize("name", [*KINDS, "500", "503-registered", "status-405", "history-5xx"])
def test_every_fault_acts_somewhere(name):
    assert make_fault(name).kind.ops


def test_a_fault_spoils_only_the_operation_it_names():
    faults = [make_fault("result-405"), make_fault("hang")]
    assert find_wire(faults, "result", Counter()).name == "result-405"
    assert find_wire(faults, "submit", Counter()).name == "hang"
    assert find_wire(faults, "status", Counter()) is None


def test_a_fault_with_a_number_of_times_stops_after_them():
    faults, uses = [make_fault("status-500:2")], Counter()
    shown = [find_wire(faults, "status", uses) is not None for _ in range(4)]
    assert shown == [True, True, False, False]


def test_a_view_fault_is_found_by_name_until_it_is_used_up():
    faults, uses = [make_fault("unknown-status:1")], Counter()
    assert find_view(faults, "unknown-status", uses) is not None
    assert find_view(faults, "unknown-status", uses) is None


def test_a_rule_acts_on_its_model_and_operation_as_often_as_it_says():
    book = FaultBook()
    book.add("503", model_id="sandbox/flux/dev", op="status", times=2)
    assert book.take("submit", "sandbox/flux/dev") == []
    assert book.take("status", "sandbox/tts/turbo") == []
    assert [len(book.take("status", "sandbox/flux/dev")) for _ in range(3)] == [1, 1, 0]


def test_a_rule_for_an_app_holds_for_its_models():
    book = FaultBook()
    book.add("drop", model_id="sandbox/flux")
    assert book.take("submit", "sandbox/flux/dev")
    assert not book.take("submit", "sandbox/flux-lora")


def test_of_two_rules_that_break_a_reply_the_first_is_used_up_first():
    book = FaultBook()
    book.add("500", times=1)
    book.add("drop", times=1)
    names = [[fault.name for fault in book.take("submit", "a/b")] for _ in range(3)]
    assert names == [["500"], ["drop"], []]


def test_a_rule_with_an_unknown_operation_is_refused():
    with pytest.raises(ValueError, match="unknown op 'sumbit'"):
        FaultBook().add("drop", op="sumbit")


def test_a_fault_in_a_header_acts_on_the_request_that_carries_it():
    assert aim(make_fault("503"), "status").acts_at("status")
    assert not aim(make_fault("result-405"), "status").acts_at("status")


@pytest.mark.parametrize(
    ("name", "code"),
    [("429", 429), ("405-registered", 405), ("status-405", 405), ("cdn-404", 404), ("drop", None)],
)
def test_a_name_holds_its_http_status(name, code):
    assert status_code(name) == code


def test_a_history_window_is_a_day_or_ninety_for_one_request():
    day = 86_400
    assert HistoryQuery.from_query({}, [], 1e9).start == 1e9 - day
    assert HistoryQuery.from_query({"request_id": "x"}, [], 1e9).start == 1e9 - 90 * day


def test_a_history_time_may_be_a_date_or_an_instant():
    query = HistoryQuery.from_query({"start": "2026-01-01", "end": "2026-01-02T00:00:00Z"}, [], 0)
    assert query.end - query.start == 86_400


@pytest.mark.parametrize("query", [{"status": "odd"}, {"sort_by": "name"}, {"start": "yesterday"}])
def test_a_history_query_that_fal_would_refuse_is_refused(query):
    with pytest.raises(ValueError):
        HistoryQuery.from_query(query, [], 0)
