"""The pipeline over an imaginary fal: what is sent, what is read, and how each job ends."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imaginary_fal import (
    BEGIN_AT,
    DONE,
    OUTPUT,
    QUEUED,
    RUNS,
    ImaginaryFal,
    Rivalry,
    Shelf,
    hurried,
    item,
    job,
    lost,
    ref,
    running,
)

from falq.errors import (
    ArtifactError,
    ContentPolicyError,
    InvalidKeyError,
    ModelError,
    NetworkError,
)
from falq.fal.history import History
from falq.fal.outcomes import Accepted, Busy, LostKind, NotSent, Ran, Refused
from falq.fal.replies import CancelOutcome, FalStatus, LogLine
from falq.fal.signals import EndpointRefusedError, RequestNotFoundError, StillRunningError
from falq.following import FollowRules
from falq.phases import TERMINAL
from falq.pipeline import Pipeline, Saved
from falq.submitting import SubmitRules

AWAY = NetworkError("connection refused")
REFUSED = EndpointRefusedError("405")


def carry_out(
    fal: ImaginaryFal,
    record: Any = None,
    *,
    ledger: Rivalry | None = None,
    shelf: Shelf | None = None,
    follow: FollowRules | None = None,
    submit: SubmitRules | None = None,
) -> Rivalry:
    """Run a job to its end and give its ledger."""
    ledger = ledger or Rivalry(record or job())
    with hurried() as run:
        run(
            Pipeline(
                client=fal, ledger=ledger, saver=shelf or Shelf(),
                follow=follow or FollowRules(), submit=submit or SubmitRules(),
            ).run()
        )  # fmt: skip
    return ledger


def ended(ledger: Rivalry) -> tuple[str, str | None]:
    return ledger.record.phase, (ledger.record.error or {}).get("type")


@pytest.mark.parametrize("mode", ["sync", "queue"])
def test_a_job_is_sent_once_followed_and_saved(mode):
    fal = ImaginaryFal(statuses=[QUEUED, RUNS, DONE])
    ledger = carry_out(fal, job(mode=mode))
    assert ended(ledger) == ("done", None)
    assert len(fal.sent) == 1
    assert ledger.record.outcome["status"] == "COMPLETED"
    assert ledger.record.outcome["recovered"] is False


@pytest.mark.parametrize("kind", list(LostKind))
@pytest.mark.parametrize("mode", ["sync", "queue"])
def test_a_lost_reply_is_found_in_the_history_and_never_sent_again(mode, kind):
    fal = ImaginaryFal(
        submits=[lost(kind)], runs=[lost(kind)], history=[[], NetworkError("503"), [item("r9")]],
        results=[OUTPUT],
    )  # fmt: skip
    ledger = carry_out(fal, job(mode=mode))
    assert ended(ledger) == ("done", None)
    assert (ledger.record.request_id, len(fal.sent)) == ("r9", 1)
    assert ledger.record.outcome["recovered"] is True


def test_a_lost_sync_run_that_still_runs_is_waited_for_in_the_history():
    fal = ImaginaryFal(
        runs=[lost(LostKind.DROPPED)], history=[[running()], [running()], [], [item()]]
    )
    ledger = carry_out(fal, job(mode="sync"))
    assert ended(ledger) == ("done", None)
    assert fal.asked.count("status") == 0


def test_an_id_that_a_header_told_is_followed_even_where_the_history_is_silent():
    fal = ImaginaryFal(submits=[lost(LostKind.GARBAGE, "r1")], history=[NetworkError("down")])
    ledger = carry_out(fal)
    assert ended(ledger) == ("done", None)
    assert len(fal.sent) == 1


def test_an_id_of_a_gateways_own_does_not_hide_the_request():
    gone = RequestNotFoundError("404")
    fal = ImaginaryFal(
        submits=[lost(LostKind.SERVER_ERROR, "gateway")], statuses=[gone, DONE],
        history=[[item("r1")]],
    )  # fmt: skip
    ledger = carry_out(fal)
    assert (ended(ledger)[0], ledger.record.request_id, len(fal.sent)) == ("done", "r1", 1)


def test_a_request_of_another_job_is_never_taken():
    ledger = Rivalry(job(), owned=("theirs",))
    fal = ImaginaryFal(submits=[lost(LostKind.DROPPED)], history=[[item("theirs")]])
    assert ended(carry_out(fal, ledger=ledger)) == ("unknown", "UnknownOutcomeError")


def test_one_request_is_left_for_each_equal_job_that_still_waits_for_its_reply():
    ledger = Rivalry(job(), awaiting=(BEGIN_AT,))
    fal = ImaginaryFal(submits=[lost(LostKind.DROPPED)], history=[[item("r1")]])
    assert ended(carry_out(fal, ledger=ledger))[0] == "unknown"
    ledger = Rivalry(job(), awaiting=(BEGIN_AT + 5,))
    theirs = item("theirs", sent_at=BEGIN_AT + 5)
    fal = ImaginaryFal(submits=[lost(LostKind.DROPPED)], history=[[theirs, item("r1")]])
    assert ended(carry_out(fal, ledger=ledger))[0] == "done"
    assert ledger.record.request_id == "r1"


ABSENT = [
    pytest.param(History(whole=False), id="a history that is not there as a whole"),
    pytest.param(History(ahead_s=None), id="one that does not tell its time"),
    pytest.param(History(items=(item(has_arguments=False, arguments=None),)), id="no arguments"),
    pytest.param(
        History(items=(item(arguments={"prompt": "x", "seed": 7}),)), id="a default written in"
    ),
    pytest.param(NetworkError("500"), id="one that does not answer at last"),
]


@pytest.mark.parametrize("history", ABSENT)
@pytest.mark.parametrize("kind", [LostKind.SERVER_ERROR, LostKind.METHOD_NOT_ALLOWED])
@pytest.mark.parametrize("mode", ["sync", "queue"])
def test_a_history_that_proves_nothing_lets_nothing_be_sent_again(mode, kind, history):
    fal = ImaginaryFal(submits=[lost(kind)], runs=[lost(kind)], history=[[], history])
    ledger = carry_out(fal, job(mode=mode))
    assert ended(ledger) == ("unknown", "UnknownOutcomeError")
    assert len(fal.sent) == 1


def test_a_request_of_other_arguments_is_no_doubt_about_ours():
    fal = ImaginaryFal(
        submits=[lost(LostKind.SERVER_ERROR), Accepted(ref())],
        history=[[item(arguments={"prompt": "another"}), item(sent_at=BEGIN_AT - 500)]],
    )
    assert ended(carry_out(fal))[0] == "done"
    assert len(fal.sent) == 2


def test_what_is_kept_for_an_equal_job_lets_nothing_be_sent_again():
    fal = ImaginaryFal(submits=[lost(LostKind.SERVER_ERROR)], history=[[item("theirs")]])
    ledger = carry_out(fal, ledger=Rivalry(job(), awaiting=(BEGIN_AT,)))
    assert (ended(ledger)[0], len(fal.sent)) == ("unknown", 1)


def test_a_clock_of_ours_that_is_ahead_does_not_hide_our_request():
    early = item("r9", sent_at=BEGIN_AT - 120, ended_at=BEGIN_AT - 119)
    found = History(items=(early,), ahead_s=-120.0)
    fal = ImaginaryFal(submits=[lost(LostKind.SERVER_ERROR)], history=[found])
    ledger = carry_out(fal)
    assert (ended(ledger)[0], ledger.record.request_id, len(fal.sent)) == ("done", "r9", 1)


def test_a_job_whose_request_an_equal_one_took_takes_the_one_that_was_left():
    ledger = Rivalry(job(), owned=("r1",))
    fal = ImaginaryFal(submits=[Accepted(ref("r1"))], history=[[item("r1"), item("r2")]])
    carry_out(fal, ledger=ledger)
    assert (ledger.record.phase, ledger.record.request_id, len(fal.sent)) == ("done", "r2", 1)


@pytest.mark.parametrize("kind", [LostKind.TIMEOUT, LostKind.DROPPED, LostKind.GATEWAY_TIMEOUT])
def test_a_request_that_nobody_knows_ends_unknown_after_one_post(kind):
    fal = ImaginaryFal(submits=[lost(kind)])
    ledger = carry_out(fal)
    assert ended(ledger) == ("unknown", "UnknownOutcomeError")
    assert len(fal.sent) == 1


def test_on_unknown_submit_resubmit_sends_again_three_times_at_most():
    fal = ImaginaryFal(submits=[lost(LostKind.DROPPED)])
    ledger = carry_out(fal, submit=SubmitRules(resubmit=True))
    assert (ended(ledger)[0], len(fal.sent)) == ("failed", 3)


def test_a_405_at_the_queue_runs_through_the_sync_api_once():
    fal = ImaginaryFal(submits=[lost(LostKind.METHOD_NOT_ALLOWED)])
    assert ended(carry_out(fal))[0] == "done"
    assert fal.sent == ["submit", "run"]
    refusing = lost(LostKind.METHOD_NOT_ALLOWED)
    fal = ImaginaryFal(submits=[refusing], runs=[refusing])
    assert ended(carry_out(fal)) == ("failed", "NetworkError")
    assert fal.sent == ["submit", "run"]


def test_busy_and_unsent_are_tried_again_and_counted_as_unsent():
    fal = ImaginaryFal(submits=[Busy(7.0, AWAY), NotSent(AWAY), Busy(None, AWAY), Accepted(ref())])
    ledger = carry_out(fal)
    assert (ended(ledger)[0], ledger.record.submits, ledger.record.attempts) == ("done", 1, 3)


def test_a_fal_that_is_never_reached_fails_the_job_with_the_cause():
    ledger = carry_out(ImaginaryFal(submits=[NotSent(AWAY)]))
    assert ended(ledger) == ("failed", "NetworkError")
    assert ledger.record.error["retryable"] is True
    assert ledger.record.submits <= 1


@pytest.mark.parametrize("error", [ModelError("422"), InvalidKeyError("401")])
def test_a_refusal_ends_the_job_in_fals_words(error):
    fal = ImaginaryFal(submits=[Refused(error)])
    ledger = carry_out(fal)
    assert ended(ledger) == ("failed", type(error).__name__)
    assert ledger.record.outcome["status"] == "FAILED"
    assert len(fal.sent) == 1


def test_errors_on_reads_never_fail_a_job():
    fal = ImaginaryFal(
        statuses=[AWAY, InvalidKeyError("401"), ModelError("400 from a proxy"), QUEUED, RUNS, DONE],
        results=[AWAY, StillRunningError("400"), OUTPUT],
    )
    assert ended(carry_out(fal))[0] == "done"
    assert fal.asked.count("status") >= 6


def test_a_stream_that_breaks_is_followed_by_polls():
    fal = ImaginaryFal(events=[QUEUED, RUNS, NetworkError("cut")], statuses=[RUNS, DONE])
    assert ended(carry_out(fal))[0] == "done"


def test_a_request_that_goes_back_to_the_queue_is_followed_on():
    fal = ImaginaryFal(events=[QUEUED, RUNS, QUEUED, RUNS, DONE])
    ledger = carry_out(fal)
    phases = [event["phase"] for event in ledger.seen if "phase" in event]
    assert phases[-7:-2] == ["submitted", "running", "submitted", "running", "downloading"] or (
        ended(ledger)[0] == "done"
    )


def test_log_lines_are_told_once_in_fals_order():
    lines = [LogLine(message=f"step {n}", timestamp=f"t{n}") for n in range(3)]
    fal = ImaginaryFal(
        events=[
            FalStatus(status="IN_PROGRESS", logs=tuple(lines[:2])),
            FalStatus(status="IN_PROGRESS", logs=tuple(lines[1:])),
            DONE,
        ]
    )
    ledger = carry_out(fal)
    shown = [line["message"] for line in ledger.record.outcome["logs"]]
    assert shown == ["step 0", "step 1", "step 2"]
    assert [event["log"] for event in ledger.seen if "log" in event] == shown


def test_a_completed_request_with_an_error_fails_in_fals_words():
    broken = FalStatus(status="COMPLETED", error="Runner disconnected", error_type="runner")
    fal = ImaginaryFal(statuses=[broken], results=[ModelError("fal answered 503: x")])
    ledger = carry_out(fal)
    assert ended(ledger) == ("failed", "ModelError")
    assert "Runner disconnected" in ledger.record.error["message"]


def test_a_refused_content_is_believed_at_once_and_a_vague_failure_when_it_stays():
    policy = ContentPolicyError("no", detail=[{"type": "content_policy_violation"}])
    fal = ImaginaryFal(results=[policy, OUTPUT])
    assert ended(carry_out(fal)) == ("failed", "ContentPolicyError")
    fal = ImaginaryFal(results=[ModelError("fal answered 500: hiccup"), OUTPUT])
    assert ended(carry_out(fal))[0] == "done"
    fal = ImaginaryFal(results=[ModelError("fal answered 500: Internal Server Error")])
    assert ended(carry_out(fal)) == ("failed", "ModelError")


def test_a_result_endpoint_that_refuses_is_replaced_by_the_history():
    fal = ImaginaryFal(results=[REFUSED], history=[[], [item()]])
    ledger = carry_out(fal)
    assert ledger.record.outcome["status"] == "COMPLETED"
    assert ledger.record.outcome["recovered"] is True
    assert len(fal.sent) == 1


def test_a_result_that_nobody_hands_out_is_told_with_what_the_platform_knows():
    fal = ImaginaryFal(results=[REFUSED], history=[[item(has_output=False, output=None)]])
    ledger = carry_out(fal)
    assert ledger.record.outcome["status"] == "RESULT_ENDPOINT_ONLY"
    assert ledger.record.outcome["platform_request"]["request_id"] == "r1"
    silent = carry_out(ImaginaryFal(results=[REFUSED], history=[NetworkError("down")]))
    assert silent.record.outcome["platform_request"] is None
    assert fal.sent == ["submit"]


def test_endpoints_that_all_refuse_wait_in_the_history_for_the_end():
    fal = ImaginaryFal(
        statuses=[REFUSED], results=[REFUSED], history=[[running()], [running()], [item()]]
    )
    assert carry_out(fal).record.outcome["status"] == "COMPLETED"


def test_a_request_that_runs_too_long_times_out_with_its_id():
    ledger = carry_out(ImaginaryFal(statuses=[RUNS], results=[StillRunningError("400")]))
    assert ended(ledger) == ("failed", "JobTimeoutError")
    assert ledger.record.error["request_id"] == "r1"
    assert ledger.record.outcome["timings"]["total_s"] == pytest.approx(600, abs=10)


@pytest.mark.parametrize("fixed_poll_s", [25.0, 30 * 86_400.0, float("inf")])
@pytest.mark.parametrize("mode", ["queue", "sync"])
def test_rare_polls_do_not_lengthen_a_jobs_time(mode, fixed_poll_s):
    record = job(
        mode=mode, phase="running", request_id="r1", submitting_at=BEGIN_AT, job_timeout_s=3.0
    )
    fal = ImaginaryFal(statuses=[RUNS], results=[StillRunningError("400")], history=[[running()]])
    ledger = carry_out(fal, record, follow=FollowRules(fixed_poll_s=fixed_poll_s))
    assert ended(ledger) == ("failed", "JobTimeoutError")
    assert ledger.record.outcome["timings"]["total_s"] == pytest.approx(3.0, abs=0.5)


@pytest.mark.parametrize("what", ["statuses", "results"])
def test_reads_that_fail_to_the_end_leave_the_request_for_later(what):
    fal = ImaginaryFal(**{what: [AWAY]})
    ledger = carry_out(fal)
    assert ended(ledger) == ("failed", "JobTimeoutError")
    error = ledger.record.error
    assert (error["may_be_billed"], error["retryable"]) == (True, False)
    assert "r1 may still run" in error["message"]
    assert len(fal.sent) == 1


def test_max_polls_is_kept_to_the_poll():
    fal = ImaginaryFal(statuses=[RUNS])
    ledger = carry_out(fal, follow=FollowRules(fixed_poll_s=1.0, max_polls=3))
    assert ended(ledger) == ("failed", "JobTimeoutError")
    assert fal.asked.count("status") == 3


def test_a_request_found_long_after_its_time_is_looked_at_once():
    late = job(phase="running", request_id="r1", submitting_at=1.0)
    assert ended(carry_out(ImaginaryFal(), late))[0] == "done"
    assert ended(carry_out(ImaginaryFal(statuses=[RUNS]), late)) == ("failed", "JobTimeoutError")


@pytest.mark.parametrize(
    ("answer", "results", "phase"),
    [
        (CancelOutcome.REQUESTED, [ModelError("499", detail="cancelled")], "cancelled"),
        (CancelOutcome.ALREADY_COMPLETED, [OUTPUT], "done"),
        (CancelOutcome.NOT_FOUND, [OUTPUT], "cancelled"),
    ],
)
def test_a_cancel_has_fals_outcome(answer, results, phase):
    ledger = Rivalry(job(phase="submitted", request_id="r1", submits=1))
    ledger.cancel_asked.set()
    carry_out(ImaginaryFal(cancels=[answer], results=results), ledger=ledger)
    assert ledger.record.phase == phase


def test_a_cancel_that_fal_ignores_ends_the_wait_after_a_while():
    ledger = Rivalry(job(phase="running", request_id="r1", submits=1))
    ledger.cancel_asked.set()
    carry_out(ImaginaryFal(statuses=[RUNS]), ledger=ledger)
    assert ended(ledger) == ("cancelled", "JobCancelledError")
    assert ledger.record.error["may_be_billed"] is True


def test_a_cancel_that_did_not_reach_fal_lets_the_job_go_on():
    ledger = Rivalry(job(phase="running", request_id="r1", submits=1))
    ledger.cancel_asked.set()
    carry_out(ImaginaryFal(cancels=[AWAY], statuses=[RUNS, DONE]), ledger=ledger)
    assert ledger.record.phase == "done"


def test_a_job_cancelled_before_it_was_sent_costs_nothing():
    fal = ImaginaryFal()
    ledger = carry_out(fal, job(cancel_requested=True))
    assert ended(ledger) == ("cancelled", "JobCancelledError")
    assert fal.sent == []


def test_files_that_cannot_be_saved_keep_the_result():
    shelf = Shelf(ArtifactError("disk full on this machine"))
    ledger = carry_out(ImaginaryFal(), shelf=shelf)
    assert ended(ledger) == ("failed", "ArtifactError")
    assert ledger.record.outcome["result"] == {"text": "hello"}
    failures = [
        {
            "field": "images[1]", "url": "u", "error": "gone", "type": "DownloadError",
            "retryable": True,
        }
    ]  # fmt: skip
    partly = carry_out(
        ImaginaryFal(), shelf=Shelf(Saved(files=[{"path": "/a"}], failures=failures))
    )
    assert ended(partly) == ("failed", "DownloadError")
    assert partly.record.outcome["files"] == [{"path": "/a"}]


def test_a_job_adopted_at_any_phase_goes_on_without_a_post():
    phases = {"submitted": {}, "running": {}, "downloading": {"result": {"text": "hello"}}}
    for phase, fields in phases.items():
        fal = ImaginaryFal()
        record = job(phase=phase, request_id="r1", submits=1, **fields)
        assert ended(carry_out(fal, record))[0] == "done"
        assert fal.sent == []


def test_a_job_adopted_in_the_middle_of_its_post_is_looked_up():
    fal = ImaginaryFal(history=[[], [item()]])
    ledger = carry_out(fal, job(phase="submitting", submits=1, submitting_at=999_990.0))
    assert (ended(ledger)[0], fal.sent) == ("done", [])


ANSWERS = st.sampled_from(
    [Accepted(ref()), NotSent(AWAY), Busy(1.0, AWAY), Busy(None, AWAY), Refused(ModelError("no"))]
    + [lost(kind) for kind in LostKind]
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(ANSWERS, min_size=1, max_size=5),
    st.lists(ANSWERS.filter(lambda answer: not isinstance(answer, Accepted)), max_size=3),
    st.lists(
        st.sampled_from([AWAY, QUEUED, RUNS, REFUSED, RequestNotFoundError("404"), DONE]),
        min_size=1, max_size=6,
    ),
    st.lists(
        st.sampled_from([AWAY, StillRunningError("400"), REFUSED, ModelError("500"), OUTPUT]),
        min_size=1, max_size=5,
    ),
    st.lists(st.sampled_from([[], AWAY, [running()], [item()]]), min_size=1, max_size=5),
    st.sampled_from(["sync", "queue"]),
)  # fmt: skip
def test_whatever_fal_answers_every_job_ends_and_no_doubt_is_paid_twice(
    submits, runs, statuses, results, history, mode
):
    fal = ImaginaryFal(
        submits=submits, runs=[*runs, Ran(OUTPUT)], statuses=statuses, results=results,
        history=history,
    )  # fmt: skip
    ledger = carry_out(fal, job(mode=mode))
    assert ledger.record.phase in TERMINAL | {"unknown"}
    assert ledger.record.outcome["status"] in {"COMPLETED", "FAILED", "RESULT_ENDPOINT_ONLY"}
    assert ledger.record.submits <= 3
