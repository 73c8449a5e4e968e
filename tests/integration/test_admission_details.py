"""Small promises of admission that random runs seldom meet; each was found by a mutant."""

import pytest
from admission_world import ACCOUNT, WIDE, World, texts

from falq import keys
from falq.limits import Limits
from falq.phases import Phase

LEASE_OVER = 11_000_000
ONE_PER_S = Limits(max_concurrent=50, start_interval_s=1, burst=50)


@pytest.fixture
def world(redis_client):
    return World(redis_client)


def started(admitted) -> list[str]:
    return [grant.job_id for grant in admitted.grants]


def key(name: str) -> str:
    return keys.of_account(ACCOUNT, name)


def orphans(world: World, *job_ids: str) -> None:
    """Leave jobs whose worker died while they ran; the letter of each names its queue."""
    tokens = {job_id: world.start(job_id, job_id[0]) for job_id in job_ids}
    for job_id, token in tokens.items():
        world.submit(job_id, token, f"r-{job_id}")
    world.pass_time(LEASE_OVER)
    world.admission.reap()
    assert world.adopt() == list(job_ids)


# To the microsecond.


def test_a_start_is_admitted_at_its_instant_and_not_before(world):
    for job_id in ("a", "b", "c"):
        world.enqueue(job_id, limits=ONE_PER_S)
    assert started(world.admit()) == ["a"]
    world.move(999_999)
    assert started(world.admit()) == []
    assert world.admission.acquire("b", "stock") == 0.000001
    world.move(1)
    assert started(world.admit()) == ["b"]


def test_queues_that_wait_for_different_times_start_at_theirs(world):
    two_per_s = Limits(max_concurrent=50, start_interval_s=0.5, burst=50)
    for queue, limits in (("p", two_per_s), ("q", ONE_PER_S)):
        for number in (1, 2):
            world.enqueue(f"{queue}{number}", queue, limits)
    assert sorted(started(world.admit(9))) == ["p1", "q1"]
    world.move(500_000)
    admitted = world.admit(9)
    assert (started(admitted), admitted.wait_s) == (["p2"], 0.5)
    world.move(500_000)
    assert started(world.admit(9)) == ["q2"]


def test_times_of_a_job_are_those_of_the_server(world):
    token = world.start("a")
    assert world.journal.get("a").started_at == world.wall / 1e6
    world.move(2_000_000)
    world.journal.advance("a", token, Phase.FAILED, fields={}, outcome={})
    assert world.journal.get("a").finished_at == world.wall / 1e6


# Adoption.


def test_an_adopted_job_keeps_the_time_of_its_start(world):
    orphans(world, "a")
    before = world.journal.get("a").started_at
    (grant,) = world.admit().grants
    record = world.journal.get("a")
    assert (record.started_at, record.worker, record.token) == (before, "w", grant.token)
    assert world.adopt() == []


def test_a_worker_adopts_no_more_than_it_has_room_for(world):
    orphans(world, "a", "b", "c")
    assert started(world.admit(1)) == ["a"]
    assert started(world.admit(2)) == ["b", "c"]


def test_adoption_goes_before_new_jobs_and_takes_their_room(world):
    orphans(world, "a")
    world.enqueue("b")
    assert started(world.admit(1)) == ["a"]
    assert started(world.admit(1)) == ["b"]


def test_what_a_worker_does_not_serve_hides_nothing_that_it_does(world):
    orphans(world, "a1", "a2", "a3", "a4", "b1")
    assert started(world.admit(1, queues="b")) == ["b1"]
    assert world.adopt() == ["a1", "a2", "a3", "a4"]


@pytest.mark.parametrize("held", [True, False])
def test_nobody_adopts_a_job_that_is_held_or_has_ended(held, world):
    orphans(world, "a")
    (grant,) = world.admit().grants
    if not held:
        world.journal.advance("a", grant.token, Phase.DONE, fields={}, outcome={})
    world.redis.rpush(key("adopt"), "a")
    world.redis.hset(keys.scope(ACCOUNT, "@"), "offers", "1")
    assert started(world.admit()) == []
    assert world.adopt() == []


# Queues and their order.


def test_a_worker_with_a_pattern_is_fair_between_the_queues_that_it_serves(world):
    for queue in ("a", "b", "c", "d"):
        for number in (1, 2):
            world.enqueue(f"{queue}{number}", queue)
    order = [job_id for _ in range(4) for job_id in started(world.admit(1, queues="?"))]
    assert [job_id[0] for job_id in order] == ["a", "b", "c", "d"]
    assert started(world.admit(1, queues="b")) == ["b2"]
    assert started(world.admit(1, queues="*")) == ["a2"]


def test_of_queues_that_a_worker_serves_the_first_is_served_first(world):
    for queue in ("a", "b1", "b2", "b3"):
        world.enqueue(f"{queue}-job", queue)
    assert started(world.admit(1, queues="b*")) == ["b1-job"]


def test_a_queue_that_a_stock_worker_emptied_is_nowhere(world):
    world.enqueue("a")
    world.admission.acquire("a", "stock")
    assert not world.redis.exists(key("ready"), key("parked"), keys.waiting(ACCOUNT, "q"))
    assert world.journal.get("a").started_at == world.wall / 1e6


def test_a_queue_whose_only_job_was_cancelled_in_a_dashboard_hides_no_other(world):
    world.enqueue("a1", "a")
    world.enqueue("b1", "b")
    world.redis.hset(keys.rq_job("a1"), "status", "canceled")
    assert started(world.admit()) == ["b1"]


def test_a_queue_that_somebody_emptied_is_forgotten(world):
    world.enqueue("a1", "a")
    world.enqueue("b1", "b")
    world.redis.delete(keys.waiting(ACCOUNT, "a"))
    assert started(world.admit(2)) == ["b1"]
    assert not world.redis.exists(key("ready"), key("parked"))


def test_what_a_queue_waited_for_is_counted(world):
    for job_id in ("a", "b"):
        world.enqueue(job_id, limits=ONE_PER_S)
    world.admit(2)
    counted = world.redis.hgetall(keys.scope(ACCOUNT, "q"))
    assert {name: n for name, n in counted.items() if name.startswith(b"waits:")} == {
        b"waits:interval": b"1"
    }
    assert world.redis.hget(keys.COUNTERS, "waits:interval") == b"1"


def test_a_job_that_was_pushed_twice_leaves_its_list_with_a_stock_worker(world):
    world.enqueue("a")
    world.redis.rpush(keys.rq_queue("q"), "a")
    world.admission.acquire("a", "stock")
    assert world.rq_list() == []


def test_a_start_by_a_stock_worker_counts_in_the_turn_of_its_queue(world):
    for queue in ("p", "q"):
        for number in (1, 2):
            world.enqueue(f"{queue}{number}", queue)
    world.admission.acquire("p1", "stock")
    assert started(world.admit(2)) == ["q1", "p2"]


def test_the_wait_of_a_pattern_is_found_behind_many_queues_of_others(world):
    for number in range(70):
        for job_id in ("1", "2"):
            world.enqueue(f"a{number}-{job_id}", f"a{number}", ONE_PER_S)
    slow = Limits(max_concurrent=50, start_interval_s=3, burst=50)
    for job_id in ("b1", "b2"):
        world.enqueue(job_id, "b", slow)
    world.admit(200)
    admitted = world.admit(1, queues="b")
    assert (admitted.wait_s, admitted.reason) == (3.0, "b:interval")


@pytest.mark.parametrize("others", [40, 41, 42])
def test_of_the_queues_of_a_pattern_the_one_that_may_start_first_is_told(others, world):
    earlier = [(f"a{number}", 1) for number in range(others)]
    later = [(f"c{number}", 3) for number in range(40)]
    for queue, interval_s in (*earlier, ("b1", 2), *later, ("b2", 4)):
        limits = Limits(max_concurrent=50, start_interval_s=interval_s, burst=50)
        for number in (1, 2):
            world.enqueue(f"{queue}-{number}", queue, limits)
    world.admit(200)
    admitted = world.admit(1, queues="b*")
    assert (admitted.wait_s, admitted.reason) == (2.0, "b1:interval")


def test_the_end_of_a_job_wakes_whoever_may_wait_for_its_account_and_then_for_time(world):
    slow = Limits(max_concurrent=50, start_interval_s=60, burst=50)
    for job_id in ("a", "b"):
        world.enqueue(job_id, limits=slow, account_max_concurrent=1)
    (grant,) = world.admit(9).grants
    channel = keys.wake(ACCOUNT, "sleeper")
    with world.redis.pubsub(ignore_subscribe_messages=True) as listening:
        listening.subscribe(channel)
        listening.get_message(timeout=1)
        asleep = world.admit(worker="sleeper", register=True)
        assert (asleep.wait_s, asleep.reason) == (None, "@:concurrency")
        world.journal.advance("a", grant.token, Phase.FAILED, fields={}, outcome={})
        assert listening.get_message(timeout=1) is not None
    assert world.admit(worker="sleeper", register=True).wait_s == 60.0


# What is told.


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (Limits(max_concurrent=1, start_interval_s=0), (b"concurrency", b"-1")),
        (ONE_PER_S, (b"interval", b"1000000")),
        (Limits(start_interval_s=0, rate_per_min=1, burst=1), (b"rate", b"60000000")),
    ],
)
def test_a_queue_tells_once_what_it_waits_for_and_for_how_long(limits, told, world):
    for job_id in ("a", "b"):
        world.enqueue(job_id, limits=limits)
    for _ in range(3):
        world.admit(2)
    stream = keys.told(ACCOUNT, "q")
    ((_, entry),) = world.redis.xrange(stream)
    assert (entry[b"limit"], entry[b"wait_us"]) == told
    assert 0 < world.redis.ttl(stream) <= 7 * 86_400
    assert world.redis.hget(keys.COUNTERS, f"waits:{told[0].decode()}") == b"1"


def test_an_empty_account_has_nothing_to_wait_for(world):
    admitted = world.admit()
    assert (admitted.wait_s, admitted.reason, admitted.waiting) == (None, "", False)
    assert texts(world.redis.zrange(key("waiters"), 0, -1)) == []


def test_limits_of_nobody_are_never_none(world):
    for number in range(9):
        world.enqueue(f"a{number}", limits=WIDE)
    world.redis.delete(keys.scope(ACCOUNT, "q"))
    assert len(world.admit(9).grants) == 1
