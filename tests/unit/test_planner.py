"""The planner under random histories: one POST at most without a proof, and always an end."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falq import planner
from falq.errors import BalanceError, InvalidKeyError, ModelError, NetworkError
from falq.phases import TERMINAL, Phase, allowed_from
from falq.planner import Change, Step
from falq.record import JobRecord
from falq.submitting import accepted, ran

ENDED = TERMINAL | {Phase.UNKNOWN}
LOSSES = ["timeout", "dropped", "garbage", "method_not_allowed", "server_error", "gateway_timeout"]
ERROR = NetworkError("lost")


class World:
    """One job, the fal that it is for, and the holders that come and go.

    ``in_doubt`` says that a POST may have been taken and nothing has told yet.
    """

    def __init__(self, draw, mode, resubmit):
        self.draw = draw
        self.resubmit = resubmit
        self.record = JobRecord(job_id="j", model_id="a/b", mode=mode, created_at=0.0)
        self.now = 0.0
        self.in_doubt = False
        self.posts = 0
        self.late_holder = False

    def apply(self, change: Change):
        assert self.record.phase in allowed_from(Phase(change.to)), (self.record.phase, change.to)
        self.record = dataclasses.replace(self.record, phase=change.to, **change.fields)

    def choose(self, *options):
        return self.draw(st.sampled_from(options))

    def tick(self):
        self.now += self.draw(st.sampled_from([0.0, 0.1, 5.0, 400.0]))
        if self.choose(False, False, False, True):
            self.record = dataclasses.replace(self.record, cancel_requested=True)

    def step(self, *, calm=False):
        self.tick()
        acts = {
            Step.SUBMIT: self.post, Step.RUN: self.post, Step.LOOK_UP: self.look_up,
            Step.FOLLOW: self.follow, Step.DOWNLOAD: self.download,
            Step.CANCEL_UNSENT: self.cancel_unsent,
        }  # fmt: skip
        acts[planner.next_step(self.record)](calm)

    def post(self, calm):
        assert not self.in_doubt, "a second POST without a proof about the first"
        self.apply(planner.intent(self.record, self.now))
        self.posts += 1
        self.in_doubt = True
        happens = "lost" if calm else self.choose("died", "lost", "taken", "refused", "not", "busy")
        if happens == "died":
            self.late_holder = True
        elif happens == "lost":
            self.apply(planner.after_lost(self.draw(st.sampled_from(LOSSES)), self.now, ERROR))
        else:
            self.told(happens)

    def told(self, happens):
        if happens == "taken":
            if self.record.mode == "sync" or self.record.fallback:
                self.apply(ran(_output()))
            else:
                self.apply(accepted(_ref()))
            return
        self.in_doubt = False
        if happens == "refused":
            self.apply(planner.after_refused(self.choose(ModelError("422"), InvalidKeyError("k"))))
        elif happens == "not":
            self.apply(planner.after_not_sent(self.record, ERROR, 0.5))
        else:
            self.apply(planner.after_busy(self.record, ERROR, 0.5, self.now))

    def look_up(self, calm):
        if self.late_holder and not calm and self.choose(True, False):
            self.late_holder = False
            self.told(self.choose("taken", "not"))
            return
        if self.record.lost_at is None:
            self.apply(planner.after_lost("died", self.now))
        happens = "absent" if calm else self.choose("died", "found", "absent", "silent")
        if happens == "found":
            found = {"request_id": "r", "recovered": True, "loss": None, "lost_at": None}
            self.apply(Change(to="submitted", fields=found))
        elif happens != "died":
            loss = self.record.loss
            absent = happens == "absent"
            self.apply(planner.after_not_found(self.record, absent=absent, resubmit=self.resubmit))
            if absent and (self.resubmit or loss in ("method_not_allowed", "server_error")):
                self.in_doubt = False
            self.late_holder = self.late_holder and self.in_doubt

    def follow(self, calm):
        self.late_holder = False
        late = planner.out_of_time(self.record, self.now, 0, None)
        happens = self.choose("failed", "result") if calm else self.choose("died", "moves", "late")
        if happens == "moves":
            self.apply(Change(to=self.choose("submitted", "running"), fields={}))
        elif happens == "result":
            self.apply(Change(to="downloading", fields={"result": {}}))
        elif happens == "failed" or (happens == "late" and late is not None):
            self.apply(planner.after_failure(late or ModelError("no")))

    def download(self, calm):
        if calm or self.choose("died", "ends") == "ends":
            self.apply(Change(to=self.choose("done", "failed"), fields={}))

    def cancel_unsent(self, calm):
        assert not self.in_doubt
        self.apply(Change(to="cancelled", fields={}))


def _output():
    from falq.fal.replies import Output

    return Output(output={}, request_id="r")


def _ref():
    from falq.fal.urls import RequestRef

    return RequestRef(model_id="a/b", request_id="r")


@settings(max_examples=400, deadline=None)
@given(st.data(), st.sampled_from(["sync", "queue"]), st.booleans())
def test_no_order_of_faults_sends_twice_without_a_proof_and_every_job_ends(data, mode, resubmit):
    world = World(data.draw, mode, resubmit)
    for _ in range(data.draw(st.integers(0, 25))):
        if world.record.phase in ENDED:
            break
        world.step()
    left = 30
    while world.record.phase not in ENDED:
        world.step(calm=True)
        left -= 1
        assert left, f"never ends: {world.record}"
    assert planner.next_step(world.record) is Step.STOP


@pytest.mark.parametrize("loss", ["timeout", "dropped", "garbage", "gateway_timeout", "died"])
def test_a_lost_reply_that_proves_nothing_ends_unknown(loss):
    record = JobRecord(job_id="j", phase="submitting", loss=loss, submits=1)
    change = planner.after_not_found(record, absent=True)
    assert change.to == "unknown"
    assert change.error.exit_code == 6
    assert "falq resolve" in change.error.hint


@pytest.mark.parametrize("loss", ["method_not_allowed", "server_error", "timeout"])
def test_a_history_that_did_not_answer_proves_nothing(loss):
    record = JobRecord(job_id="j", phase="submitting", loss=loss, submits=1, mode="queue")
    assert planner.after_not_found(record, absent=False, resubmit=True).to == "unknown"


def test_a_405_falls_back_to_the_sync_api_once():
    record = JobRecord(job_id="j", phase="submitting", loss="method_not_allowed", mode="queue")
    change = planner.after_not_found(record, absent=True)
    assert (change.to, change.fields) == ("queued", {"fallback": True})
    again = dataclasses.replace(record, fallback=True)
    assert planner.next_step(dataclasses.replace(again, phase="queued")) is Step.RUN
    assert planner.after_not_found(again, absent=True).to == "failed"


def test_a_5xx_that_left_no_trace_is_sent_three_times_at_most():
    record = JobRecord(job_id="j", phase="submitting", loss="server_error", submits=1)
    assert planner.after_not_found(record, absent=True).to == "queued"
    worn = dataclasses.replace(record, submits=3)
    change = planner.after_not_found(worn, absent=True)
    assert change.to == "failed"
    assert change.error.retryable


def test_what_somebody_asks_for_by_hand_is_never_sent_again():
    record = JobRecord(job_id="j", phase="submitting", loss=planner.ASKED, submits=1)
    assert planner.after_not_found(record, absent=True, resubmit=True).to == "unknown"


def test_an_intent_that_nobody_answered_is_looked_up():
    assert planner.next_step(JobRecord(job_id="j", phase="submitting")) is Step.LOOK_UP


def test_a_refused_key_holds_its_account_and_a_busy_fal_the_queue():
    refused = planner.after_refused(InvalidKeyError("401"))
    assert (refused.to, refused.hold_scope) == ("failed", "account")
    assert refused.hold_reason == "fal refused the key"
    assert "balance" in planner.after_refused(BalanceError("403")).hold_reason
    record = JobRecord(job_id="j", phase="submitting", submits=1, first_submit_at=0.0)
    busy = planner.after_busy(record, NetworkError("too many"), 7.0, 1.0)
    assert (busy.to, busy.hold_s, busy.hold_scope) == ("queued", 7.0, "queue")
    assert busy.fields["submits"] == 0
    limit = NetworkError("Reached concurrent requests limit of 2")
    assert planner.after_busy(record, limit, 7.0, 1.0).hold_scope == "account"


def test_a_fal_that_stays_busy_fails_the_job_in_its_time_and_says_that_nothing_is_owed():
    record = JobRecord(job_id="j", phase="submitting", first_submit_at=0.0, job_timeout_s=60.0)
    change = planner.after_busy(record, NetworkError("busy"), 30.0, 50.0)
    assert change.to == "failed"
    assert change.error.retryable
    assert not change.error.may_be_billed


def test_a_connection_that_is_never_made_fails_after_some_attempts():
    record = JobRecord(job_id="j", phase="submitting", unsent=planner.MAX_UNSENT - 1, submits=1)
    assert planner.after_not_sent(record, ERROR, 1.0).to == "failed"


def test_a_timeout_says_how_to_fetch_the_result_later():
    record = JobRecord(job_id="j", request_id="r1", submitting_at=0.0, job_timeout_s=10.0)
    late = planner.out_of_time(record, 11.0, 1, None)
    assert "r1 may still run" in late.message
    assert "falq result JOB" in late.hint
    assert (late.may_be_billed, late.retryable) == (True, False)
    assert planner.out_of_time(record, 9.0, 5, 5) is not None
    assert planner.out_of_time(dataclasses.replace(record, resumed_at=8.0), 11.0, 1, None) is None


def test_ids_are_filled_into_a_hint_and_into_no_other_word():
    hint = "falq result JOB; falq schema MODEL_ID; FAL_QUEUE_JOB_TIMEOUT; --request-id ID"
    error = NetworkError("late", hint)
    assert error.to_dict()["hint"] == hint
    filled = error.about(job_id="j1", model_id="a/b").to_dict()["hint"]
    assert filled == "falq result j1; falq schema a/b; FAL_QUEUE_JOB_TIMEOUT; --request-id ID"


def test_look_ups_are_spread_over_the_grace_period_and_end():
    waits = [planner.look_up_wait_s(0.0, 30.0, tries) for tries in range(11)]
    assert waits[0] == 0
    assert waits[9] == 30.0
    assert waits[10] is None
    assert planner.look_up_wait_s(29.0, 30.0, 9) == 1.0
    assert planner.look_up_wait_s(31.0, 30.0, 9) == 0


def test_busy_times_do_not_count_as_connections_that_were_never_made():
    record = JobRecord(job_id="j", attempts=9, unsent=0, submits=1, job_timeout_s=600.0)
    assert planner.after_not_sent(record, ERROR, 1.0).to == "queued"
    assert planner.after_busy(record, ERROR, 1.0, 1.0).fields["unsent"] == 0


def test_a_job_that_somebody_asked_for_again_has_its_whole_time_again():
    record = JobRecord(job_id="j", first_submit_at=0.0, resumed_at=1000.0, submits=1)
    assert planner.after_busy(record, ERROR, 1.0, 1001.0).to == "queued"
