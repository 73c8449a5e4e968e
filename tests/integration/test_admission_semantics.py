import json
import time
from itertools import pairwise

import pytest
from admission_world import ACCOUNT, CAP, LEASE, WIDE, World, every_key
from rq import Queue
from rq.serializers import JSONSerializer

from falq import keys
from falq.admission import Admission, Grant
from falq.journal import FencedError
from falq.limits import Limits
from falq.metrics import BOUNDS
from falq.phases import Phase
from falq.scripts import packaged

HOUR = 3_600_000_000


@pytest.fixture
def world(redis_client):
    return World(redis_client)


def ids(admitted):
    return [grant.job_id for grant in admitted.grants]


def test_a_queue_without_limits_has_the_contracts_defaults(world):
    (_, state) = world.admission.snapshot(["nobody-configured"])
    limits = Limits()
    assert state.max_concurrent == limits.max_concurrent
    assert state.start_interval_s == limits.start_interval_s
    assert state.rate_per_min == limits.rate_per_min
    assert state.burst == limits.burst


def test_a_high_lane_goes_before_a_normal_before_a_low_one(world):
    for job_id, priority in (("1", "low"), ("2", "normal"), ("3", "high"), ("4", "normal")):
        world.enqueue(job_id, priority=priority)
    assert ids(world.admit(4)) == ["3", "2", "4", "1"]


def test_queues_share_the_account_evenly_whoever_came_first(world):
    for queue, jobs in (("a", 30), ("b", 10), ("c", 20)):
        for number in range(jobs):
            world.enqueue(f"{queue}{number}", queue)
    world.admission.configure_account(1)
    order = []
    for _ in range(30):
        (grant,) = world.admit().grants
        world.journal.advance(grant.job_id, grant.token, Phase.FAILED, fields={}, outcome={})
        order.append(grant.queue)
        counts = [order.count(queue) for queue in "abc"]
        assert max(counts) - min(counts) <= 1
    assert counts == [10, 10, 10]


def test_a_queue_that_was_quiet_has_saved_up_no_turns(world):
    for number in range(40):
        world.enqueue(f"a{number}", "a")
    assert len(world.admit(20).grants) == 20
    for number in range(20):
        world.enqueue(f"b{number}", "b")
    order = [grant.queue for grant in world.admit(10).grants]
    assert order.count("a") == order.count("b") == 5


def run_one(world, **options):
    """Start the next job and end it; give its queue."""
    (grant,) = world.admit(**options).grants
    world.journal.advance(grant.job_id, grant.token, Phase.FAILED, fields={}, outcome={})
    return grant.queue


def test_a_queue_that_is_filled_again_and_again_takes_no_more_than_its_turns(world):
    for number in range(12):
        world.enqueue(f"b{number}", "b")
    order = []
    for number in range(20):
        if not world.waiting("a"):
            world.enqueue(f"a{number}", "a")
        order.append(run_one(world))
    assert abs(order.count("a") - order.count("b")) <= 1


def test_a_queue_that_waits_longest_is_not_set_back_by_its_next_job(world):
    world.enqueue("z1", "z")
    for number in range(5):
        world.enqueue(f"b{number}", "b")
        run_one(world, queues="b")
    world.enqueue("c", "c")
    world.enqueue("z2", "z")
    assert run_one(world) == "z"


def test_limits_of_queue_and_account_hold_together_or_nothing_is_spent(world):
    world.admission.configure("@", Limits(start_interval_s=0, rate_per_min=60, burst=1))
    world.enqueue("1", "a", Limits(start_interval_s=0, rate_per_min=60, burst=5))
    world.enqueue("2", "b", Limits(start_interval_s=0, rate_per_min=60, burst=5))
    assert ids(world.admit(5)) == ["1"]
    untouched = world.redis.hget(keys.scope(ACCOUNT, "b"), "tat")
    refused = world.admit(5)
    assert (refused.reason, refused.wait_s) == ("@:rate", 1.0)
    assert world.redis.hget(keys.scope(ACCOUNT, "b"), "tat") == untouched
    world.pass_time(1_000_000)
    assert ids(world.admit(5)) == ["2"]


def test_a_refusal_changes_only_the_clock_and_what_is_parked(world):
    world.enqueue("1", limits=Limits())
    world.enqueue("2", limits=Limits())
    world.admit()
    world.admit()
    before = every_key(world.redis)
    world.move(1000)
    assert not world.admit().grants
    after = every_key(world.redis)
    scope = keys.scope(ACCOUNT, "@")
    assert {key for key in after if after[key] != before.get(key)} == {scope, "test:wall"}
    changed = {f for f in after[scope] if after[scope][f] != before[scope][f]}
    assert changed == {b"wall", b"now"}


@pytest.mark.parametrize(
    ("limits", "reason", "wait_s"),
    [
        (Limits(start_interval_s=2, rate_per_min=60, burst=9), "q:interval", 2.0),
        (Limits(start_interval_s=0, rate_per_min=6, burst=1), "q:rate", 10.0),
        (Limits(start_interval_s=0, max_concurrent=1), "q:concurrency", None),
        (Limits(start_interval_s=0, max_concurrent=0), "q:paused", None),
    ],
)
def test_a_refusal_names_the_limit_and_the_exact_wait(world, limits, reason, wait_s):
    world.start("0")
    world.admission.configure("q", Limits(start_interval_s=0, rate_per_min=600, burst=9))
    world.enqueue("1", limits=limits)
    world.admission.configure("q", limits)
    if limits.max_concurrent == 2:
        assert ids(world.admit()) in (["1"], [])
        world.enqueue("2", limits=limits)
    refused = world.admit()
    assert (refused.reason, refused.waiting) == (reason, True)
    assert refused.wait_s is None if wait_s is None else 0 < refused.wait_s <= wait_s


@pytest.mark.parametrize(
    ("limits", "hold_s", "refused"),
    [
        (Limits(start_interval_s=1, rate_per_min=10, burst=1), 0, ("q:rate", 6.0)),
        (Limits(start_interval_s=9, rate_per_min=10, burst=1), 0, ("q:interval", 9.0)),
        (Limits(start_interval_s=1, rate_per_min=10, burst=9), 0, ("q:interval", 1.0)),
        (Limits(start_interval_s=1, rate_per_min=10, burst=1), 2, ("q:rate", 6.0)),
        (Limits(start_interval_s=9, rate_per_min=10, burst=1), 7, ("q:interval", 9.0)),
        (Limits(start_interval_s=1, rate_per_min=10, burst=1), 8, ("q:hold", 8.0)),
    ],
)
def test_of_several_limits_the_one_that_holds_longest_counts(world, limits, hold_s, refused):
    for job_id in ("1", "2"):
        world.enqueue(job_id, limits=limits)
    assert ids(world.admit(2)) == ["1"]
    if hold_s:
        world.admission.hold("q", hold_s, "fal answered 429")
    found = world.admit(2)
    assert (found.reason, found.wait_s) == refused
    world.pass_time(round(1e6 * found.wait_s) - 1)
    assert not world.admit(2).grants
    world.pass_time(1)
    assert ids(world.admit(2)) == ["2"]


def test_nothing_waiting_has_no_reason_and_no_wait(world):
    nothing = world.admit(3)
    assert (nothing.grants, nothing.wait_s, nothing.reason, nothing.waiting) == (
        (),
        None,
        "",
        False,
    )


def test_a_held_scope_opens_when_its_time_is_over(world):
    world.enqueue("1")
    world.admission.hold("q", 3, "fal answered 429")
    world.admission.hold("q", 1, "a shorter one does not shorten it")
    assert (world.admit().reason, world.admit().wait_s) == ("q:hold", 3.0)
    (_, state) = world.admission.snapshot(["q"])
    assert state.hold_reason == "fal answered 429"
    world.pass_time(3_000_000)
    assert ids(world.admit()) == ["1"]


def test_a_held_account_holds_every_queue(world):
    world.enqueue("1", "a")
    world.enqueue("2", "b")
    world.admission.hold("@", 2, "fal refused the key")
    refused = world.admit(2)
    assert (refused.reason, refused.wait_s) == ("@:hold", 2.0)
    world.admission.resume("@")
    assert len(world.admit(2).grants) == 2


def test_a_paused_queue_starts_nothing_until_it_is_resumed(world):
    world.enqueue("1")
    world.admission.pause("q")
    assert (world.admit().reason, world.admit().wait_s) == ("q:paused", None)
    world.admission.resume("q")
    assert ids(world.admit()) == ["1"]


def test_spent_permits_carry_over_when_the_rate_changes(world):
    slow = Limits(start_interval_s=0, rate_per_min=6, burst=2, max_concurrent=9)
    for number in range(4):
        world.enqueue(str(number), limits=slow)
    assert len(world.admit(4).grants) == 2
    world.admission.configure("q", Limits(start_interval_s=0, rate_per_min=60, burst=2))
    world.admission.configure(
        "q", Limits(max_concurrent=9, start_interval_s=0, rate_per_min=60, burst=2)
    )
    assert world.admit().wait_s == 1.0


def test_the_first_limits_of_a_queue_keep_what_was_spent_under_the_defaults(world):
    world.enqueue("1", limits=Limits())
    world.redis.hdel(keys.scope(ACCOUNT, "q"), "emission_us", "burst", "interval_us", "config_id")
    world.admit()
    fast = Limits(start_interval_s=0, rate_per_min=60, burst=1)
    world.enqueue("2", limits=fast)
    assert world.admit().wait_s == 1.0


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
def test_a_jump_of_the_wall_clock_frees_no_lease_and_grants_no_more_than_its_cap(world, jump):
    limits = Limits(max_concurrent=9, start_interval_s=0, rate_per_min=60, burst=9)
    for number in range(30):
        world.enqueue(str(number), limits=limits)
    held = {grant.job_id: grant.token for grant in world.admit(9).grants}
    world.move(jump)
    assert world.admission.reap() == []
    assert world.admission.renew(held) == set()
    world.admission.configure(
        "q", Limits(max_concurrent=99, start_interval_s=0, rate_per_min=60, burst=9)
    )
    assert len(world.admit(30).grants) == (5 if jump > 0 else 0)
    world.move(1_000_000)
    assert len(world.admit(30).grants) == 1


def test_after_a_long_outage_holders_renew_before_anybody_reaps(world):
    token = world.start("1")
    world.move(HOUR)
    assert world.admission.reap() == []
    assert world.admission.renew({"1": token}) == set()


def test_a_dead_holders_job_that_was_not_sent_is_first_in_line_again(world):
    world.start("1")
    world.enqueue("2")
    world.pass_time(LEASE)
    assert world.admission.reap() == [("1", "queued")]
    assert world.waiting() == ["1", "2"]
    assert world.rq_list() == ["1", "2"]
    assert ids(world.admit(2)) == ["1", "2"]


@pytest.mark.parametrize("steps", [("submitted",), ("submitted", "running", "downloading")])
def test_a_dead_holders_sent_job_goes_to_the_next_worker_and_keeps_its_slot(world, steps):
    token = world.start("1")
    world.submit("1", token)
    for step in steps:
        world.journal.advance("1", token, Phase(step), fields={})
    world.admission.configure("q", Limits(max_concurrent=1, start_interval_s=0))
    world.enqueue("2", limits=Limits(max_concurrent=1, start_interval_s=0))
    world.pass_time(LEASE)
    world.admission.reap()
    (grant,) = world.admit(5).grants
    assert (grant.job_id, grant.adopted, grant.token > token) == ("1", True, True)
    assert world.admission.renew({"1": token}) == {"1"}
    assert world.journal.get("1").request_id == "r"


def test_a_job_nobody_can_adopt_loses_no_life(world):
    token = world.start("1")
    world.submit("1", token)
    for _ in range(5):
        world.pass_time(LEASE)
        world.admission.reap()
    assert (world.phase("1"), world.journal.get("1").deaths) == ("submitted", 1)
    assert world.adopt() == ["1"]


def test_a_worker_adopts_only_jobs_of_queues_that_it_serves(world):
    token = world.start("1", "video")
    world.submit("1", token)
    world.admission.surrender({"1": token})
    assert not world.admit(5, queues="image*").grants
    assert ids(world.admit(5, queues="video*")) == ["1"]


def test_three_deaths_without_progress_end_a_job_with_its_request_id(world):
    token = world.start("1")
    world.submit("1", token, "r-1")
    for _ in range(3):
        world.pass_time(LEASE)
        world.admission.reap()
        world.admit()
    record = world.journal.get("1")
    assert record.phase == "failed"
    assert record.error["request_id"] == "r-1"
    assert (record.error["may_be_billed"], record.error["retryable"]) == (True, False)
    assert record.outcome["error"] == record.error
    assert world.leases() == {}


def test_three_deaths_before_anything_was_sent_say_that_it_may_be_repeated(world):
    world.start("1")
    for _ in range(3):
        world.pass_time(LEASE)
        world.admission.reap()
        world.admit()
    record = world.journal.get("1")
    assert (record.phase, record.error["retryable"]) == ("failed", True)
    assert (record.error["may_be_billed"], record.error["request_id"]) == (False, None)
    assert world.redis.hget("rq:job:1", "status") == b"failed"


def test_three_deaths_after_an_intent_leave_the_outcome_unknown(world):
    token = world.start("1")
    world.journal.advance("1", token, Phase.SUBMITTING, fields={"submits": 1})
    for _ in range(3):
        world.pass_time(LEASE)
        world.admission.reap()
        world.admit()
    record = world.journal.get("1")
    assert (record.phase, record.error["type"]) == ("unknown", "UnknownOutcomeError")
    assert [each.job_id for each in world.journal.unknown()] == ["1"]
    assert list(world.leases()) == ["1"]


def test_progress_gives_a_job_its_lives_back(world):
    token = world.start("1")
    world.submit("1", token)
    for _ in range(2):
        world.pass_time(LEASE)
        world.admission.reap()
        (grant,) = world.admit().grants
    world.journal.advance("1", grant.token, Phase.RUNNING, fields={})
    assert world.journal.get("1").deaths == 0


def test_a_record_deleted_by_hand_frees_its_slot(world):
    world.start("1")
    world.redis.delete(keys.job("1"))
    world.pass_time(LEASE)
    assert world.admission.reap() == [("1", "gone")]
    assert (world.leases(), world.held()) == ({}, set())


def test_an_unknown_jobs_slot_is_free_after_the_hold(world):
    token = world.start("1")
    world.journal.advance("1", token, Phase.SUBMITTING, fields={})
    world.journal.advance("1", token, Phase.UNKNOWN, fields={}, outcome={})
    world.pass_time(LEASE * 2)
    assert world.admission.reap() == []
    world.pass_time(600_000_000)
    assert world.admission.reap() == [("1", "unknown")]
    assert (world.leases(), world.phase("1")) == ({}, "unknown")


def test_renewing_does_not_raise_a_lease_from_the_dead(world):
    token = world.start("1")
    world.redis.zrem(keys.leases(ACCOUNT), "1")
    assert world.admission.renew({"1": token}) == set()
    assert world.leases() == {}


def test_surrendered_jobs_are_adopted_at_once_and_that_is_no_death(world):
    token = world.start("1")
    world.submit("1", token)
    assert world.admission.surrender({"1": token, "nobody's": 7}) == 1
    (grant,) = world.admit().grants
    assert grant.adopted
    assert world.journal.get("1").deaths == 0


def test_a_job_deleted_by_a_tool_ends_cancelled_and_costs_no_permit(world):
    limits = Limits(start_interval_s=0, rate_per_min=60, burst=1)
    world.enqueue("1", limits=limits)
    world.enqueue("2", limits=limits)
    world.redis.delete("rq:job:1")
    assert ids(world.admit()) == ["2"]
    record = world.journal.get("1")
    assert (record.phase, record.error["type"]) == ("cancelled", "JobCancelledError")
    assert record.outcome["status"] == "FAILED"
    assert world.waiting() == []


@pytest.mark.parametrize("status", ["canceled", "stopped"])
def test_a_job_cancelled_by_a_tool_ends_cancelled(world, status):
    world.enqueue("1")
    world.redis.hset("rq:job:1", "status", status)
    assert not world.admit().grants
    assert (world.phase("1"), world.rq_list()) == ("cancelled", [])
    assert not world.admit().waiting


def test_a_job_whose_stock_worker_may_be_dead_starts_and_is_refused_to_that_worker(world):
    world.enqueue("1")
    world.redis.lpop("rq:queue:q")
    world.redis.hset("rq:job:1", "status", "started")
    assert ids(world.admit()) == ["1"]
    assert world.admission.acquire("1", "stock") is None


def test_a_stock_worker_waits_for_the_limits_and_then_holds_the_job(world):
    limits = Limits(start_interval_s=2, max_concurrent=9)
    world.enqueue("1", limits=limits)
    world.enqueue("2", limits=limits)
    assert ids(world.admit()) == ["1"]
    assert world.admission.acquire("2", "stock") == 2.0
    world.pass_time(2_000_000)
    grant = world.admission.acquire("2", "stock")
    assert isinstance(grant, Grant)
    assert (grant.job_id, grant.queue, grant.adopted) == ("2", "q", False)
    assert world.admission.acquire("2", "another") is None
    assert world.waiting() == world.rq_list() == []


def test_a_stock_worker_may_adopt_what_a_dead_one_left(world):
    token = world.start("1")
    world.submit("1", token)
    world.admission.surrender({"1": token})
    grant = world.admission.acquire("1", "stock")
    assert grant.adopted
    assert world.adopt() == []
    assert world.admission.acquire("1", "another") is None


@pytest.mark.parametrize("ended", ["done", "failed"])
def test_nothing_is_acquired_of_a_job_that_has_ended(world, ended):
    token = world.start("1")
    world.submit("1", token)
    world.journal.advance("1", token, Phase(ended), fields={}, outcome={})
    assert world.admission.acquire("1", "stock") is None
    assert world.admission.acquire("never-was", "stock") is None


def test_a_worker_with_a_pattern_gets_only_what_it_serves(world):
    for number in range(70):
        world.enqueue(f"a{number}", f"a{number}")
    world.enqueue("b", "b.1-x")
    assert ids(world.admit(9, queues="b.?-*")) == ["b"]
    assert not world.admit(9, queues="b.?-*").waiting


def test_the_wait_of_a_worker_with_a_pattern_is_that_of_its_own_queues(world):
    for queue, interval_s in (("a", 1), ("b", 3)):
        limits = Limits(start_interval_s=interval_s)
        world.enqueue(f"{queue}1", queue, limits)
        world.enqueue(f"{queue}2", queue, limits)
    world.admit(2)
    assert world.admit(1, queues="b*").wait_s == 3.0
    assert world.admit(1).wait_s == 1.0


def test_one_sleeper_holds_the_timer_and_the_others_wait_for_a_wake_up(world):
    world.enqueue("1", limits=Limits())
    world.enqueue("2", limits=Limits())
    world.admit()
    with world.redis.pubsub() as ears:
        ears.subscribe(keys.wake(ACCOUNT, "w1"))
        ears.get_message(timeout=5)
        waits = [world.admission.admit(name, 1).wait_s for name in ("w1", "w2", "w3")]
    assert waits == [1.0, None, None]


def test_a_dead_sleepers_timer_is_taken_over(world):
    world.enqueue("1", limits=Limits())
    world.enqueue("2", limits=Limits())
    world.admit()
    assert world.admission.admit("dead", 1).wait_s == 1.0
    assert world.admission.admit("w2", 1).wait_s == 1.0


def test_a_worker_that_takes_no_more_passes_its_timer_on(world):
    world.enqueue("1", limits=Limits())
    world.enqueue("2", limits=Limits())
    world.admit()
    world.admission.admit("w1", 1)
    assert world.admission.admit("w1", 0).wait_s is None
    assert world.admission.admit("w2", 1).wait_s == 1.0


def test_keyless_jobs_are_taken_into_the_account_of_the_first_worker(world):
    slow = Limits(start_interval_s=0, rate_per_min=6, burst=1)
    world.enqueue("1", limits=slow, account="", priority="low")
    world.enqueue("2", limits=slow, account="")
    world.enqueue("3", limits=slow, account="")
    world.journal.cancel("3")
    assert world.admission.take_in(Limits()) == (2, [])
    assert world.waiting() == ["2", "1"]
    assert world.journal.get("1").account == ACCOUNT
    assert ids(world.admit(2)) == ["2"]
    assert world.admit().wait_s == 10.0
    assert world.phase("3") == "cancelled"


def rq_queue(world, name="plain"):
    return Queue(name, connection=world.redis, serializer=JSONSerializer)


def test_a_job_pushed_by_stock_rq_is_swept_in_and_obeys_the_limits(world):
    jobs = [rq_queue(world).enqueue("os.getcwd").id for _ in range(3)]
    assert world.admission.take_in(Limits(start_interval_s=4)) == (3, [])
    assert world.admission.take_in(Limits()) == (0, [])
    assert ids(world.admit(3)) == jobs[:1]
    assert world.admit().wait_s == 4.0
    record = world.journal.get(jobs[0])
    assert (record.foreign, record.queue, record.account) == (True, "plain", ACCOUNT)


def test_a_sweep_goes_through_more_queues_than_one_call_looks_at(world):
    with world.redis.pipeline() as pipe:
        for number in range(450):
            pipe.sadd(keys.RQ_QUEUES, keys.rq_queue(f"q{number}"))
            pipe.rpush(keys.rq_queue(f"q{number}"), f"j{number}")
            pipe.hset(keys.rq_job(f"j{number}"), "status", "queued")
        pipe.execute()
    assert world.admission.take_in(Limits())[0] == 450
    assert len(world.admission.snapshot()) == 451


def test_a_job_of_another_account_in_the_same_queue_is_left_alone(world):
    world.enqueue("theirs", account="ba9876543210")
    assert world.admission.take_in(Limits()) == (0, [])
    assert world.journal.get("theirs").account == "ba9876543210"
    assert not world.admit().grants


def test_an_ended_job_put_back_by_a_tool_is_named_for_reopening(world):
    token = world.start("1")
    world.journal.advance("1", token, Phase.FAILED, fields={}, outcome={})
    world.redis.hset("rq:job:1", "status", "queued")
    world.redis.rpush("rq:queue:q", "1")
    assert world.admission.take_in(Limits()) == (0, [("1", "failed")])


def test_a_second_push_of_a_job_that_is_held_is_taken_back(world):
    world.start("1")
    world.redis.rpush("rq:queue:q", "1", "never-was")
    assert world.admission.take_in(Limits()) == (0, [])
    assert world.rq_list() == []


def test_a_queue_named_like_the_account_is_never_taken_in(world):
    rq_queue(world, "@").enqueue("os.getcwd")
    assert world.admission.take_in(Limits()) == (0, [])


def test_what_a_queue_waits_for_is_told_once_per_start(world):
    for number in range(3):
        world.enqueue(str(number), limits=Limits(start_interval_s=2))
    world.admit()
    for _ in range(5):
        world.admit()
    told = world.redis.xrange(keys.told(ACCOUNT, "q"))
    assert [entry for _, entry in told] == [{b"limit": b"interval", b"wait_us": b"2000000"}]
    assert world.redis.ttl(keys.told(ACCOUNT, "q")) > 0
    world.admission.pause("q")
    world.admit()
    ((_, last),) = world.redis.xrevrange(keys.told(ACCOUNT, "q"), count=1)
    assert last == {b"limit": b"paused", b"wait_us": b"-1"}


def test_each_parked_queue_starts_when_its_own_time_has_come(world):
    for queue, interval_s in (("a", 3), ("b", 1), ("c", 2)):
        limits = Limits(start_interval_s=interval_s, max_concurrent=9)
        for number in range(2):
            world.enqueue(f"{queue}{number}", queue, limits)
    assert len(world.admit(6).grants) == 3
    for queue in "bca":
        world.pass_time(1_000_000)
        assert ids(world.admit(6)) == [f"{queue}1"]


def test_the_earliest_queue_of_a_worker_is_found_behind_all_that_it_does_not_serve(world):
    for number in range(32):
        world.enqueue(f"a{number}", f"a{number:02}")
        world.admission.hold(f"a{number:02}", 1, "429")
    world.enqueue("b", "b")
    world.admission.hold("b", 2, "429")
    assert not world.admit().grants
    assert world.admit(queues="b").wait_s == 2.0


def test_a_dropped_job_whose_finder_died_is_found_again(world):
    world.enqueue("1")
    world.redis.delete("rq:job:1")
    world.scripts.run("admit", [ACCOUNT, "w", 1, LEASE, "", 0])
    assert world.phase("1") == "queued"
    world.pass_time(2_000_000)
    world.admit()
    assert world.phase("1") == "cancelled"


def test_many_queues_that_cannot_start_do_not_keep_redis_for_long(world):
    for number in range(300):
        world.enqueue(str(number), f"q{number}")
        world.admission.pause(f"q{number}")
    first = world.admit()
    assert (first.wait_s, first.waiting) == (0.0, True)
    assert world.admit().wait_s is None


def test_explaining_writes_nothing(world):
    world.start("1")
    before = every_key(world.redis)
    world.admission.snapshot()
    assert every_key(world.redis) == before
    assert packaged("explain").startswith("#!lua flags=no-writes")


def test_the_real_clock_is_that_of_redis(redis_client):
    World(redis_client)
    Admission(redis_client, ACCOUNT).renew({})
    stored = int(redis_client.hget(keys.scope(ACCOUNT, "@"), "now")) / 1e6
    assert abs(stored - time.time()) < 60


def test_a_full_redis_admits_nothing_but_lets_jobs_end(world):
    token = world.start("1")
    world.submit("1", token)
    world.enqueue("2")
    before = world.waiting()
    world.redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(Exception, match="maxmemory"):
            world.admit()
        with pytest.raises(Exception, match="maxmemory"):
            world.enqueue("3")
        assert world.admission.renew({"1": token}) == set()
        assert world.admission.reap() == []
        world.journal.advance("1", token, Phase.DONE, fields={}, outcome={"status": "COMPLETED"})
    finally:
        world.redis.config_set("maxmemory", "0")
    assert world.phase("1") == "done"
    assert world.waiting() == before == ["2"]
    assert world.journal.find("3") is None


def test_a_holder_that_was_reaped_is_fenced_everywhere(world):
    token = world.start("1")
    world.pass_time(LEASE)
    world.admission.reap()
    world.admit()
    before = world.redis.hgetall(keys.job("1"))
    for to in Phase:
        with pytest.raises(FencedError):
            world.journal.advance("1", token, to, fields={"polls": 1}, outcome={})
    assert world.redis.hgetall(keys.job("1")) == before


def test_the_clock_moves_by_its_cap_at_most(world):
    world.tick()
    before = world.now()
    world.move(CAP + 1)
    world.tick()
    assert world.now() - before == CAP


def test_counters_count_what_happened(world):
    token = world.start("1")
    world.journal.advance("1", token, Phase.FAILED, fields={}, outcome={})
    world.enqueue("2", limits=WIDE)
    world.journal.cancel("2")
    counters = world.redis.hgetall(keys.COUNTERS)
    assert {k: int(v) for k, v in counters.items() if b"seconds" not in k} == {
        b"enqueued": 2, b"ended:failed": 1, b"ended:cancelled": 1,
    }  # fmt: skip
    of_queue = world.redis.hgetall(keys.scope(ACCOUNT, "q"))
    assert {k: v for k, v in of_queue.items() if k.startswith(b"ended:")} == {
        b"ended:failed": b"1", b"ended:cancelled": b"1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("took_s", "bucket"),
    [(bound, bound) for bound in BOUNDS]
    + [(bound + 0.4, following) for bound, following in pairwise(BOUNDS)],
)
def test_how_long_a_job_took_is_counted_in_one_bucket(world, took_s, bucket):
    token = world.start("1")
    now_s = float(world.redis.hget(keys.scope(ACCOUNT, "@"), "wall")) / 1e6
    world.redis.hset(keys.job("1"), "created_at", now_s - took_s)
    world.journal.advance("1", token, Phase.FAILED, fields={}, outcome={})
    counters = world.redis.hgetall(keys.COUNTERS)
    counted = {k: v for k, v in counters.items() if k.startswith(b"seconds:")}
    assert float(counted.pop(b"seconds:total")) == pytest.approx(took_s, abs=0.01)
    assert counted == {f"seconds:{bucket}".encode(): b"1"}


def test_what_takes_longer_than_the_last_bucket_is_in_none(world):
    token = world.start("1")
    world.redis.hset(keys.job("1"), "created_at", 1)
    world.journal.advance("1", token, Phase.FAILED, fields={}, outcome={})
    counters = world.redis.hgetall(keys.COUNTERS)
    assert {k for k in counters if k.startswith(b"seconds:")} == {b"seconds:total"}


def test_errors_that_scripts_write_are_json(world):
    world.enqueue("1")
    world.redis.delete("rq:job:1")
    world.admit()
    outcome = json.loads(world.redis.hget(keys.job("1"), "outcome"))
    assert outcome["error"]["job_id"] == "1"
