"""The journal on a real server: fenced, repeatable, durable in the right order."""

import json

import pytest
from admission_world import ACCOUNT, HOLD, WIDE, World, every_key

from falq import enqueue as door
from falq import keys
from falq.admission import MAX_DEATHS
from falq.errors import UsageError
from falq.journal import FencedError, IllegalTransitionError
from falq.phases import ACTIVE, TERMINAL, Phase, allowed_from, reopenable_from

LEASE_OVER = 11_000_000
WAY = {
    Phase.QUEUED: [],
    Phase.SUBMITTING: [Phase.SUBMITTING],
    Phase.SUBMITTED: [Phase.SUBMITTING, Phase.SUBMITTED],
    Phase.RUNNING: [Phase.SUBMITTING, Phase.SUBMITTED, Phase.RUNNING],
    Phase.DOWNLOADING: [Phase.SUBMITTING, Phase.DOWNLOADING],
    Phase.DONE: [Phase.SUBMITTING, Phase.DOWNLOADING, Phase.DONE],
    Phase.FAILED: [Phase.FAILED],
    Phase.CANCELLED: [Phase.CANCELLED],
    Phase.UNKNOWN: [Phase.SUBMITTING, Phase.UNKNOWN],
}


@pytest.fixture
def world(redis_client):
    return World(redis_client)


def go(world: World, job_id: str, token: int, to: Phase, **fields) -> None:
    world.journal.advance(job_id, token, to, fields=fields, outcome={"status": to.value})


def started_in(world: World, phase: Phase, job_id: str = "a") -> int:
    token = world.start(job_id)
    for each in WAY[phase]:
        go(world, job_id, token, each)
    return token


def untold(world: World) -> dict[str, object]:
    """Give all that Redis holds except what any call may change: the clock and counts."""
    clock = (keys.scope(ACCOUNT, "@"), keys.COUNTERS)
    return {key: held for key, held in every_key(world.redis).items() if key not in clock}


def events(world: World, job_id: str = "a") -> list[dict]:
    return [event for _, event in door.read_events(world.redis, job_id, "0-0", 0.01)]


@pytest.mark.parametrize("phase", [*sorted(ACTIVE), Phase.QUEUED])
def test_a_holder_goes_where_the_table_allows_and_nowhere_else(phase, redis_client):
    for to in Phase:
        world = World(redis_client)
        token = started_in(world, phase)
        if phase in allowed_from(to):
            go(world, "a", token, to)
            assert world.phase("a") == to
        else:
            before = untold(world)
            with pytest.raises(IllegalTransitionError, match=phase.value):
                go(world, "a", token, to)
            assert untold(world) == before


@pytest.mark.parametrize("phase", [*sorted(ACTIVE), Phase.QUEUED])
def test_whoever_does_not_hold_a_job_changes_nothing(phase, world):
    token = started_in(world, phase)
    before = untold(world)
    for to in Phase:
        with pytest.raises(FencedError):
            go(world, "a", token + 1, to, request_id="stolen")
    assert world.admission.renew({"a": token + 1}) == {"a"}
    assert world.admission.surrender({"a": token + 1}) == 0
    assert untold(world) == before


@pytest.mark.parametrize("to", [*sorted(TERMINAL), Phase.UNKNOWN, Phase.QUEUED])
def test_a_change_whose_reply_was_lost_may_be_repeated(to, world):
    token = started_in(world, Phase.SUBMITTING if to in WAY[Phase.UNKNOWN] else Phase.QUEUED)
    if to in (Phase.QUEUED, Phase.DONE):
        go(world, "a", token, Phase.SUBMITTING)
    if to == Phase.DONE:
        go(world, "a", token, Phase.DOWNLOADING)
    go(world, "a", token, to)
    before = untold(world)
    go(world, "a", token, to)
    assert untold(world) == before


def test_a_job_that_is_not_there_is_nobodys(world):
    with pytest.raises(FencedError, match="GONE"):
        go(world, "a", 1, Phase.SUBMITTING)


def test_fields_event_and_outcome_are_written_with_the_phase(world):
    token = started_in(world, Phase.SUBMITTING)
    world.journal.advance(
        "a", token, Phase.SUBMITTED,
        fields={"request_id": "r1", "recovered": True}, event={"fal_queue_position": 3},
    )  # fmt: skip
    record = world.journal.get("a")
    assert (record.phase, record.request_id, record.recovered) == ("submitted", "r1", True)
    assert events(world)[-2:] == [{"phase": "submitted"}, {"fal_queue_position": 3}]
    assert world.journal.owners(["r1", "r2"]) == {"r1": "a"}


def test_an_end_frees_the_slot_and_says_so(world):
    token = started_in(world, Phase.DOWNLOADING)
    world.journal.advance("a", token, Phase.DONE, fields={}, outcome={"status": "COMPLETED"})
    record = world.journal.get("a")
    assert record.outcome == {"status": "COMPLETED"}
    assert record.finished_at == world.wall / 1e6
    assert record.token == 0
    assert world.redis.ttl(keys.events("a")) == 7 * 86_400
    assert (world.leases(), world.held()) == ({}, set())
    assert events(world)[-1] == {"phase": "done"}


def test_ends_are_counted_with_what_they_cost(world):
    token = started_in(world, Phase.DOWNLOADING)
    world.redis.hset(keys.job("a"), "created_at", f"{world.wall / 1e6 - 3:.6f}")
    go(world, "a", token, Phase.DONE, recovered=True, billable_units=1.5)
    counted = {k.decode(): float(v) for k, v in world.redis.hgetall(keys.COUNTERS).items()}
    assert counted["ended:done"] == counted["recovered"] == 1
    assert counted["units:total"] == 1.5
    assert counted["seconds:total"] == pytest.approx(3, abs=0.001)


def test_a_doubt_is_told_and_counted_like_an_end(world):
    started_in(world, Phase.UNKNOWN)
    assert events(world)[-1] == {"phase": "unknown"}
    assert world.redis.hget(keys.COUNTERS, "ended:unknown") == b"1"
    assert world.redis.hget(keys.scope(ACCOUNT, "q"), "ended:unknown") == b"1"


def test_an_end_at_once_took_no_time(world):
    token = started_in(world, Phase.DOWNLOADING)
    world.redis.hset(keys.job("a"), "created_at", f"{world.wall / 1e6 + 9:.6f}")
    go(world, "a", token, Phase.DONE)
    assert float(world.redis.hget(keys.COUNTERS, "seconds:total")) == 0


def test_a_request_belongs_to_the_job_that_told_of_it_first(world):
    for job_id, other in (("a", "b"), ("b", "a")):
        world.submit(job_id, world.start(job_id), "r1")
        assert world.journal.owners(["r1"]) == {"r1": "a"}
        assert world.journal.claim_request(other, "r1") is (other == "a")
    assert world.journal.claim_request("c", "r2") is True
    assert world.journal.claim_request("c", "r2") is True


def test_a_holder_that_lost_its_job_claims_no_request_for_it(world):
    token = started_in(world, Phase.SUBMITTED)
    world.pass_time(LEASE_OVER)
    world.admission.reap()
    (grant,) = world.admit().grants
    scripts = world.scripts
    with pytest.raises(FencedError):
        scripts.do(world.journal.claiming("a", "r2", token))
    assert scripts.do(world.journal.claiming("a", "r2", grant.token)) is True


def test_whoever_sent_the_post_may_still_claim_what_it_was_told(world):
    token = started_in(world, Phase.SUBMITTING)
    world.pass_time(LEASE_OVER)
    world.admission.reap()
    world.admit()
    assert world.scripts.do(world.journal.claiming("a", "r2", token)) is True


def test_a_job_that_returns_keeps_its_place(world):
    token = started_in(world, Phase.SUBMITTING)
    world.redis.hset(keys.rq_job("a"), "status", "started")
    world.enqueue("b")
    world.enqueue("c")
    go(world, "a", token, Phase.QUEUED)
    assert world.waiting() == world.rq_list() == ["a", "b", "c"]
    assert world.redis.hget(keys.rq_job("a"), "status") == b"queued"
    assert world.leases() == {}
    assert events(world)[-1] == {"phase": "queued"}


def test_a_job_that_a_tool_deleted_while_it_ran_does_not_return(world):
    token = started_in(world, Phase.SUBMITTING)
    world.redis.delete(keys.rq_job("a"))
    go(world, "a", token, Phase.QUEUED)
    assert world.admit().grants == ()
    assert world.phase("a") == Phase.CANCELLED
    assert not world.redis.exists(keys.rq_job("a"))


def heard(world: World, act) -> bool:
    """Tell whether a worker that slept before is woken by an act."""
    channel = keys.wake(ACCOUNT, "sleeper")
    with world.redis.pubsub(ignore_subscribe_messages=True) as listening:
        listening.subscribe(channel)
        listening.get_message(timeout=1)
        assert world.admit(worker="sleeper", register=True).grants == ()
        act()
        return listening.get_message(timeout=1) is not None


@pytest.mark.parametrize("how", ["given back", "surrendered", "reaped", "told late"])
def test_a_job_that_returns_wakes_a_sleeper(how, world):
    token = started_in(world, Phase.QUEUED if how == "reaped" else Phase.SUBMITTING)
    if how == "surrendered":
        go(world, "a", token, Phase.QUEUED)
        (grant,) = world.admit().grants
        token = grant.token
    if how == "told late":
        world.pass_time(LEASE_OVER)
        world.admission.reap()
        world.admit()

    def reap():
        world.pass_time(LEASE_OVER)
        world.admission.reap()

    def tell_late():
        with pytest.raises(FencedError, match="LATE"):
            go(world, "a", token, Phase.QUEUED)

    acts = {
        "given back": lambda: go(world, "a", token, Phase.QUEUED),
        "surrendered": lambda: world.admission.surrender({"a": token}),
        "reaped": reap,
        "told late": tell_late,
    }
    assert heard(world, acts[how])
    assert world.phase("a") == Phase.QUEUED


def test_a_job_to_adopt_wakes_a_sleeper(world):
    token = started_in(world, Phase.RUNNING)
    assert heard(world, lambda: world.admission.surrender({"a": token}))


def test_an_end_wakes_a_sleeper_for_the_one_queue_that_the_account_held_back(world):
    world.admission.configure_account(1)
    token = started_in(world, Phase.SUBMITTING)
    world.enqueue("b", "other")
    assert heard(world, lambda: go(world, "a", token, Phase.FAILED))


def test_a_job_that_is_given_back_is_once_in_the_list_that_stock_tools_read(world):
    token = started_in(world, Phase.SUBMITTING)
    world.redis.rpush(keys.rq_queue("q"), "a", "b", "a")
    go(world, "a", token, Phase.QUEUED)
    assert world.rq_list() == ["a", "b"]


# The late worker: paused past its lease between the intent and the reply.


def paused_while_sending(world: World, *, looked_up: bool = False) -> int:
    """Give the token of a worker that lost its job; another one may have looked it up."""
    token = started_in(world, Phase.SUBMITTING)
    world.pass_time(LEASE_OVER)
    assert world.admission.reap() == [("a", "submitting")]
    if looked_up:
        (adopted,) = world.admit().grants
        assert adopted.adopted
        go(world, "a", adopted.token, Phase.UNKNOWN)
        assert world.phase("a") == Phase.UNKNOWN
    return token


@pytest.mark.parametrize("looked_up", [False, True])
def test_a_late_worker_tells_the_request_of_a_job_in_doubt(looked_up, world):
    token = paused_while_sending(world, looked_up=looked_up)
    with pytest.raises(FencedError, match="LATE"):
        go(world, "a", token, Phase.SUBMITTED, request_id="r1")
    record = world.journal.get("a")
    assert (record.phase, record.request_id, record.error) == ("submitted", "r1", None)
    assert world.journal.unknown() == []
    assert world.redis.ttl(keys.job("a")) == -1
    (grant,) = world.admit().grants
    assert (grant.job_id, grant.adopted) == ("a", True)


@pytest.mark.parametrize("looked_up", [False, True])
def test_a_late_worker_that_sent_nothing_gives_the_job_back(looked_up, world):
    token = paused_while_sending(world, looked_up=looked_up)
    with pytest.raises(FencedError, match="LATE"):
        go(world, "a", token, Phase.QUEUED)
    assert (world.phase("a"), world.waiting(), world.adopt()) == ("queued", ["a"], [])
    assert world.leases() == {}
    assert world.journal.unknown() == []


def test_whoever_looks_a_request_up_is_fenced_off_by_its_sender(world):
    token = paused_while_sending(world)
    (adopted,) = world.admit().grants
    with pytest.raises(FencedError, match="LATE"):
        go(world, "a", token, Phase.SUBMITTED, request_id="r1")
    with pytest.raises(FencedError):
        go(world, "a", adopted.token, Phase.UNKNOWN)
    assert world.phase("a") == Phase.SUBMITTED


def test_whoever_looks_a_request_up_does_not_silence_its_sender(world):
    token = paused_while_sending(world)
    (adopted,) = world.admit().grants
    go(world, "a", adopted.token, Phase.SUBMITTING, loss="died")
    with pytest.raises(FencedError, match="LATE"):
        go(world, "a", token, Phase.SUBMITTED, request_id="r1")


def test_a_late_worker_is_heard_once(world):
    token = paused_while_sending(world)
    for said in ("LATE", "FENCED"):
        with pytest.raises(FencedError, match=said):
            go(world, "a", token, Phase.SUBMITTED, request_id="r1")


def test_a_job_given_back_has_no_deaths_to_its_name(world):
    started_in(world, Phase.QUEUED)
    world.pass_time(LEASE_OVER)
    world.admission.reap()
    (grant,) = world.admit().grants
    assert world.journal.get("a").deaths == 1
    go(world, "a", grant.token, Phase.SUBMITTING)
    go(world, "a", grant.token, Phase.QUEUED)
    assert world.journal.get("a").deaths == 0


def test_a_late_worker_forgives_deaths_and_is_told_of(world):
    token = paused_while_sending(world)
    with pytest.raises(FencedError, match="LATE"):
        go(world, "a", token, Phase.SUBMITTED, request_id="r1")
    assert world.journal.get("a").deaths == 0
    assert events(world)[-1] == {"phase": "submitted", "late": True}


def test_a_late_worker_that_gave_its_job_back_is_not_heard_of_the_next_intent(world):
    token = paused_while_sending(world)
    with pytest.raises(FencedError, match="LATE"):
        go(world, "a", token, Phase.QUEUED)
    (again,) = world.admit().grants
    go(world, "a", again.token, Phase.SUBMITTING, submits=2)
    with pytest.raises(FencedError, match="FENCED"):
        go(world, "a", token, Phase.SUBMITTED, request_id="r1")


def test_a_late_worker_cannot_end_a_job(world):
    token = paused_while_sending(world)
    for to in (Phase.FAILED, Phase.DONE, Phase.UNKNOWN, Phase.SUBMITTING, Phase.RUNNING):
        with pytest.raises(FencedError, match="FENCED"):
            go(world, "a", token, to)


def test_a_late_worker_is_not_heard_after_the_next_intent(world):
    token = paused_while_sending(world)
    (adopted,) = world.admit().grants
    go(world, "a", adopted.token, Phase.QUEUED)
    (again,) = world.admit().grants
    go(world, "a", again.token, Phase.SUBMITTING, submits=2)
    with pytest.raises(FencedError, match="FENCED"):
        go(world, "a", token, Phase.SUBMITTED, request_id="r1")
    go(world, "a", again.token, Phase.SUBMITTED, request_id="r2")
    assert world.journal.get("a").request_id == "r2"


# Dead workers.


@pytest.mark.parametrize("phase", [Phase.SUBMITTED, Phase.RUNNING, Phase.DOWNLOADING])
def test_a_job_whose_worker_died_keeps_its_slot_and_is_adopted(phase, world):
    started_in(world, phase)
    world.pass_time(LEASE_OVER)
    assert world.admission.reap() == [("a", phase.value)]
    assert world.held() == {"a"}
    (grant,) = world.admit().grants
    assert (grant.job_id, grant.adopted, world.phase("a")) == ("a", True, phase.value)


def test_a_job_that_nobody_adopts_is_offered_again_for_a_whole_lease(world):
    started_in(world, Phase.RUNNING)
    for _ in range(2):
        world.pass_time(LEASE_OVER)
        assert world.admission.reap() == [("a", "running")]
        assert world.admission.reap() == []


def test_the_request_of_a_job_is_its_own_wherever_it_stands_among_its_fields(world):
    token = started_in(world, Phase.SUBMITTING)
    go(world, "a", token, Phase.SUBMITTED, status_url="u", cancel_url="c", request_id="r9")
    assert world.journal.owners(["r9", "u", "c"]) == {"r9": "a"}


def test_no_request_is_nobodys(world):
    token = started_in(world, Phase.QUEUED)
    go(world, "a", token, Phase.SUBMITTING, request_id=None, loss="x")
    assert world.journal.owners(["", "x"]) == {}


@pytest.mark.parametrize("to", [Phase.SUBMITTING, Phase.QUEUED, Phase.FAILED])
def test_time_goes_on_with_each_change(to, world):
    token = started_in(world, Phase.QUEUED)
    before = world.now()
    world.move(1_000_000)
    go(world, "a", token, Phase.SUBMITTING)
    world.move(1_000_000)
    if to != Phase.SUBMITTING:
        go(world, "a", token, to)
    assert world.now() == before + (1 if to == Phase.SUBMITTING else 2) * 1_000_000


def test_a_job_that_waits_for_its_adoption_does_not_die_of_it(world):
    started_in(world, Phase.RUNNING)
    for _ in range(MAX_DEATHS + 2):
        world.pass_time(LEASE_OVER)
        assert world.admission.reap() == [("a", "running")]
    assert world.journal.get("a").deaths == 1
    assert world.adopt() == ["a"]


def test_a_job_whose_worker_died_before_the_intent_starts_again(world):
    started_in(world, Phase.QUEUED)
    world.pass_time(LEASE_OVER)
    assert world.admission.reap() == [("a", "queued")]
    assert (world.leases(), world.waiting()) == ({}, ["a"])


HINTS = {
    Phase.QUEUED: "look at the worker's log; then repeat the call",
    Phase.SUBMITTING: "it is not sent again; falq resolve JOB decides",
    Phase.RUNNING: "falq result JOB fetches it by its request_id",
}


@pytest.mark.parametrize(
    ("phase", "end", "kind", "billed"),
    [
        (Phase.QUEUED, Phase.FAILED, "UnreachableError", False),
        (Phase.SUBMITTING, Phase.UNKNOWN, "UnknownOutcomeError", True),
        (Phase.RUNNING, Phase.FAILED, "UnreachableError", True),
    ],
)
def test_three_deaths_without_progress_end_a_job(phase, end, kind, billed, world):
    token = world.start("a")
    for each in WAY[phase]:
        go(world, "a", token, each, **({"request_id": "r1"} if each == Phase.SUBMITTED else {}))
    for _ in range(MAX_DEATHS - 1):
        world.pass_time(LEASE_OVER)
        world.admission.reap()
        assert world.phase("a") == phase
        assert len(world.admit().grants) == 1
    world.pass_time(LEASE_OVER)
    world.admission.reap()
    record = world.journal.get("a")
    hint = record.error.pop("hint")
    assert HINTS[phase] in hint
    assert record.phase == end
    assert record.error == {
        "type": kind, "message": "its worker died 3 times without getting on",
        "model_id": "fal-ai/flux/dev", "job_id": "a", "retryable": not billed,
        "request_id": "r1" if phase == Phase.RUNNING else None, "may_be_billed": billed,
    }  # fmt: skip
    record.error["hint"] = hint
    assert world.redis.hget(keys.COUNTERS, "deaths") == b"3"
    assert record.outcome == {"status": "FAILED", "error": record.error}
    assert world.redis.hget(keys.rq_job("a"), "status") == b"failed"


def test_a_result_whose_workers_die_saving_it_was_paid_for(world):
    token = started_in(world, Phase.SUBMITTING)
    go(world, "a", token, Phase.DOWNLOADING, result={"x": 1})
    for _ in range(MAX_DEATHS):
        world.pass_time(LEASE_OVER)
        world.admission.reap()
        world.admit()
    error = world.journal.get("a").error
    assert (error["retryable"], error["may_be_billed"]) == (False, True)


def test_a_poisoned_job_that_is_reopened_is_failed_no_more_to_rq(world):
    started_in(world, Phase.QUEUED)
    for _ in range(MAX_DEATHS):
        world.pass_time(LEASE_OVER)
        world.admission.reap()
        world.admit()
    assert world.redis.zscore("rq:failed:q", "a") is not None
    world.journal.reopen("a", Phase.QUEUED, {})
    assert world.redis.zscore("rq:failed:q", "a") is None
    assert world.redis.ttl(keys.rq_job("a")) == -1


def test_progress_forgives_deaths(world):
    started_in(world, Phase.SUBMITTED)
    for to in (Phase.RUNNING, Phase.DOWNLOADING, None):
        world.pass_time(LEASE_OVER)
        world.admission.reap()
        (grant,) = world.admit().grants
        if to is not None:
            go(world, "a", grant.token, to)
    assert world.phase("a") == Phase.DOWNLOADING


def test_a_worker_that_leaves_is_no_death(world):
    for job_id, phase in (("a", Phase.QUEUED), ("b", Phase.RUNNING), ("c", Phase.SUBMITTING)):
        token = started_in(world, phase, job_id)
        assert world.admission.surrender({job_id: token}) == 1
        assert world.journal.get(job_id).deaths == 0
        world.admit(9)


def test_a_worker_leaves_all_its_jobs_at_once(world):
    held = {job_id: started_in(world, Phase.RUNNING, job_id) for job_id in ("a", "b", "c")}
    assert world.admission.surrender(held) == 3
    assert world.adopt() == ["a", "b", "c"]


def test_an_unknown_job_gives_its_slot_back_after_the_hold(world):
    started_in(world, Phase.UNKNOWN)
    world.pass_time(HOLD - 1_000_000)
    assert world.admission.reap() == []
    assert list(world.leases()) == ["a"]
    world.pass_time(1_000_000)
    assert world.admission.reap() == [("a", "unknown")]
    assert (world.leases(), world.phase("a")) == ({}, "unknown")


def test_the_lease_of_a_record_that_was_deleted_is_taken_away(world):
    started_in(world, Phase.RUNNING)
    world.redis.delete(keys.job("a"))
    world.pass_time(LEASE_OVER)
    assert world.admission.reap() == [("a", "gone")]
    assert (world.leases(), world.held()) == ({}, set())


# A person decides.


def test_cancelling_a_job_that_waits_ends_it_at_once_and_for_free(world):
    world.enqueue("a")
    assert world.journal.cancel("a") == Phase.QUEUED
    record = world.journal.get("a")
    assert (record.phase, record.error["may_be_billed"]) == ("cancelled", False)
    assert (world.waiting(), world.rq_list(), world.admit().waiting) == ([], [], False)
    assert world.redis.hget(keys.rq_job("a"), "status") == b"canceled"
    assert 0 < world.redis.ttl(keys.rq_job("a")) <= 86_400
    assert world.redis.zscore("rq:canceled:q", "a") == round(world.wall / 1e6) + 86_400


def test_cancelling_takes_a_job_from_its_list_however_often_it_is_there(world):
    world.enqueue("a")
    world.redis.rpush(keys.rq_queue("q"), "a")
    world.journal.cancel("a")
    assert world.rq_list() == []


@pytest.mark.parametrize("phase", [Phase.QUEUED, *sorted(ACTIVE)])
def test_cancelling_a_job_that_is_held_asks_its_holder(phase, world):
    started_in(world, phase)
    with world.redis.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe(keys.wake(ACCOUNT, "w"))
        heard.get_message(timeout=1)
        assert world.journal.cancel("a") == phase
        assert heard.get_message(timeout=1)["data"] == b"cancel:a"
    record = world.journal.get("a")
    assert (record.phase, record.cancel_requested) == (phase, True)


@pytest.mark.parametrize("phase", [*sorted(TERMINAL), Phase.UNKNOWN])
def test_cancelling_an_ended_job_changes_nothing(phase, world):
    started_in(world, phase)
    before = untold(world)
    assert world.journal.cancel("a") == phase
    assert untold(world) == before


def test_cancelling_what_is_not_there_gives_none(world):
    assert world.journal.cancel("a") is None


@pytest.mark.parametrize("phase", [*sorted(TERMINAL), Phase.UNKNOWN])
def test_an_ended_job_is_reopened_as_the_table_allows(phase, redis_client):
    for to in Phase:
        world = World(redis_client)
        started_in(world, phase)
        before = untold(world)
        if phase in reopenable_from(to):
            world.journal.reopen("a", to, {"error": {"type": "X", "message": "m"}})
            assert world.phase("a") == to
            assert world.journal.unknown() == []
        else:
            with pytest.raises(UsageError, match=f"job a is {phase.value}"):
                world.journal.reopen("a", to, {})
            assert untold(world) == before


def test_a_reopened_job_is_told_and_in_no_list_of_waiting_ones(world):
    started_in(world, Phase.FAILED)
    world.redis.rpush(keys.rq_queue("q"), "a")
    world.journal.reopen("a", Phase.SUBMITTED, {})
    assert events(world)[-1] == {"phase": "submitted", "reopened": True}
    assert (world.rq_list(), world.adopt()) == ([], ["a"])


def test_a_keyless_job_is_reopened_in_the_account_of_whoever_asks(world):
    world.enqueue("a", account="")
    world.journal.cancel("a")
    world.journal.reopen("a", Phase.QUEUED, {})
    assert world.journal.get("a").account == ACCOUNT
    assert world.redis.zscore("rq:canceled:q", "a") is None
    assert [grant.job_id for grant in world.admit().grants] == ["a"]


def test_a_job_that_runs_is_not_reopened(world):
    started_in(world, Phase.RUNNING)
    with pytest.raises(UsageError, match="job a is running"):
        world.journal.reopen("a", Phase.QUEUED, {})


def test_resending_starts_anew_without_what_was_known_of_the_old_request(world):
    token = started_in(world, Phase.SUBMITTING)
    go(world, "a", token, Phase.UNKNOWN, request_id="r1", status_url="http://x", loss="timeout")
    world.journal.resolve("a", "resend")
    record = world.journal.get("a")
    assert (record.phase, record.request_id, record.status_url) == ("queued", None, None)
    assert (record.loss, record.error, record.outcome) == (None, None, None)
    assert (world.leases(), world.waiting()) == ({}, ["a"])
    (grant,) = world.admit().grants
    assert (grant.job_id, grant.adopted) == ("a", False)


def test_a_job_resent_after_rq_forgot_it_is_shown_to_rq_again(world):
    started_in(world, Phase.UNKNOWN)
    before = set(world.redis.hgetall(keys.rq_job("a")))
    world.redis.delete(keys.rq_job("a"))
    world.journal.resolve("a", "resend")
    assert set(world.redis.hgetall(keys.rq_job("a"))) == before
    assert world.redis.ttl(keys.rq_job("a")) == -1
    assert len(world.admit().grants) == 1


def test_a_cancelled_job_of_the_intake_returns_to_it(world):
    world.enqueue("a", account="")
    world.journal.cancel("a")
    keyless = type(world.journal)(world.redis, "", scripts=world.scripts)
    keyless.reopen("a", Phase.QUEUED, {})
    assert world.admission.take_in(WIDE) == (1, [])
    assert [grant.job_id for grant in world.admit().grants] == ["a"]


def test_giving_up_ends_an_unknown_job_and_frees_its_slot(world):
    started_in(world, Phase.UNKNOWN)
    world.journal.resolve("a", "fail")
    record = world.journal.get("a")
    assert (record.phase, record.error["type"]) == ("failed", "UnknownOutcomeError")
    assert json.loads(world.redis.hget(keys.job("a"), "outcome"))["error"] == record.error
    assert world.leases() == {}


def test_a_request_id_by_hand_is_followed_unless_it_is_anothers(world):
    started_in(world, Phase.UNKNOWN)
    world.submit("b", world.start("b"), "r1")
    with pytest.raises(UsageError, match="request r1 belongs to another job"):
        world.journal.resolve("a", "request_id", "r1")
    assert world.phase("a") == Phase.UNKNOWN
    world.journal.resolve("a", "request_id", "r2")
    record = world.journal.get("a")
    assert (record.phase, record.request_id, record.recovered) == ("submitted", "r2", True)
    assert [grant.adopted for grant in world.admit().grants] == [True]


def test_only_an_unknown_job_is_resolved(world):
    started_in(world, Phase.RUNNING)
    with pytest.raises(UsageError, match="only an unknown one is resolved"):
        world.journal.resolve("a", "resend")


def test_a_delivered_result_is_noted_and_nothing_else_is(world):
    started_in(world, Phase.DONE)
    world.journal.deliver("a")
    world.journal.deliver("gone")
    assert world.journal.get("a").delivered
    assert world.journal.find("gone") is None


# Reading.


def test_jobs_are_listed_newest_first_by_phase_and_queue(world):
    for number in range(3):
        world.enqueue(f"a{number}", f"q{number % 2}")
        world.move(1_000)
    world.journal.cancel("a2")
    listed = world.journal.jobs
    assert [each.job_id for each in listed()] == ["a2", "a1", "a0"]
    assert [each.job_id for each in listed(limit=1)] == ["a2"]
    assert [each.job_id for each in listed(fits=lambda record: record.queue == "q0")] == [
        "a2",
        "a0",
    ]
    assert [each.job_id for each in listed(fits=lambda record: record.phase == Phase.QUEUED)] == [
        "a1",
        "a0",
    ]
    assert world.journal.read_many(["a0", "gone"]) == [world.journal.get("a0")]


def test_a_job_that_is_not_there_is_named(world):
    with pytest.raises(UsageError, match="there is no job 'a'"):
        world.journal.get("a")


def test_places_in_a_queue_are_counted_from_the_front(world):
    for job_id in ("a", "b"):
        world.enqueue(job_id)
    places = [world.journal.position(world.journal.get(job_id)) for job_id in ("a", "b")]
    assert places == [0, 1]
    world.admit(2)
    assert world.journal.position(world.journal.get("a")) is None
