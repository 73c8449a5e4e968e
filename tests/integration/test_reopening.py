"""Ended jobs brought back, waiting ones taken away: every place that knows of them follows."""

import pytest
from admission_world import ACCOUNT, World, texts

from falq import keys
from falq.phases import Phase


@pytest.fixture
def world(redis_client):
    return World(redis_client)


@pytest.fixture
def keyless(world):
    """A journal of a caller without a key."""
    return type(world.journal)(world.redis, "", scripts=world.scripts)


def end(world, job_id="a", phase=Phase.FAILED):
    token = world.start(job_id)
    world.journal.advance(job_id, token, phase, fields={}, outcome={"status": "FAILED"})
    return token


def intake(world):
    return texts(world.redis.lrange(keys.INTAKE, 0, -1))


def cancelled_in_the_intake(world, job_id="a"):
    world.enqueue(job_id, account="")
    world.journal.cancel(job_id)


def hears(world, channel, act):
    with world.redis.pubsub() as pubsub:
        pubsub.subscribe(channel)
        assert pubsub.get_message(timeout=1)["type"] == "subscribe"
        act()
        message = pubsub.get_message(timeout=0.5)
    return None if message is None else message["data"].decode()


def test_a_job_that_is_not_there_is_not_reopened(world):
    asked = [ACCOUNT, "nobody", "queued", ",failed,", 1, 0]
    assert world.scripts.run("reopen", asked) == b"GONE"


def test_a_reopened_job_is_listed_kept_and_timed_like_a_fresh_one(world):
    end(world)
    world.redis.delete(keys.RQ_QUEUES, keys.of_account(ACCOUNT, "queues"))
    world.redis.hset(keys.job("a"), mapping={"deaths": 2, "late_token": 7})
    before = world.now()
    world.move(1_000_000)
    world.journal.reopen("a", Phase.QUEUED, {})
    assert world.redis.smembers(keys.RQ_QUEUES) == {keys.rq_queue("q").encode()}
    assert world.admission.queues() == ["q"]
    assert world.now() == before + 1_000_000
    assert world.redis.ttl(keys.job("a")) == -1
    assert (world.journal.get("a").deaths, world.redis.hget(keys.job("a"), "late_token")) == (
        0,
        None,
    )


def test_a_reopened_job_wakes_who_sleeps(world):
    end(world)
    world.admit(worker="sleeper", register=True)
    wake = keys.wake(ACCOUNT, "sleeper")
    assert hears(world, wake, lambda: world.journal.reopen("a", Phase.QUEUED, {})) == "look"


def test_a_reopened_job_of_the_intake_comes_first_and_once_everywhere(world, keyless):
    cancelled_in_the_intake(world)
    world.enqueue("b", account="")
    world.redis.rpush(keys.INTAKE, "a", "a")
    world.redis.rpush(keys.rq_queue("q"), "a", "a")
    keyless.reopen("a", Phase.QUEUED, {})
    assert (intake(world), world.rq_list()) == (["a", "b"], ["a", "b"])


def test_whoever_takes_jobs_in_hears_of_a_reopened_one(world, keyless):
    cancelled_in_the_intake(world)
    act = lambda: keyless.reopen("a", Phase.QUEUED, {})  # noqa: E731
    assert hears(world, keys.INTAKE_CHANNEL, act) == "intake"


def test_a_reopened_job_that_fal_knows_of_waits_in_no_list(world):
    end(world)
    world.redis.rpush(keys.rq_queue("q"), "a", "b", "a")
    world.journal.reopen("a", Phase.SUBMITTED, {})
    assert world.rq_list() == ["b"]


def test_a_job_that_a_person_gives_up_is_failed_to_rq_too(world):
    token = world.start("a")
    for phase in (Phase.SUBMITTING, Phase.UNKNOWN):
        world.journal.advance("a", token, phase, fields={}, outcome={})
    world.journal.resolve("a", "fail")
    assert world.redis.hget(keys.rq_job("a"), "status") == b"failed"
    assert world.redis.zscore("rq:failed:q", "a") is not None


def test_a_cancelled_job_leaves_the_intake(world):
    world.enqueue("a", account="")
    world.redis.rpush(keys.INTAKE, "a")
    world.journal.cancel("a")
    assert intake(world) == []


def test_a_scope_that_is_configured_is_known_and_the_account_is_no_queue(world):
    world.admission.pause("fresh")
    world.admission.hold("@", 1.0, "x")
    assert world.admission.queues() == ["fresh"]


def test_time_goes_on_when_dropped_jobs_end(world):
    world.enqueue("a")
    world.redis.hset(keys.rq_job("a"), "status", "canceled")
    world.move(1_000_000)
    before = world.now()
    world.scripts.run("vanish", [ACCOUNT, "a", "q", "{}"])
    assert world.now() == before + 1_000_000
    assert world.phase("a") == Phase.CANCELLED


def vanish(world, job_id="a"):
    world.scripts.run("vanish", [ACCOUNT, job_id, "q", "{}"])


def test_a_job_that_a_tool_takes_back_in_time_waits_on(world):
    world.enqueue("a")
    vanish(world)
    assert (world.phase("a"), world.waiting(), world.rq_list()) == ("queued", ["a"], ["a"])


def test_a_dropped_job_that_fal_may_know_of_is_not_ended(world):
    token = world.start("a")
    world.journal.advance("a", token, Phase.SUBMITTING, fields={"submits": 1})
    world.admission.surrender({"a": token})
    world.redis.hset(keys.rq_job("a"), "status", "canceled")
    vanish(world)
    assert (world.phase("a"), world.adopt()) == ("submitting", ["a"])


def test_a_dropped_job_is_shown_as_cancelled_and_in_no_list(world):
    world.enqueue("a")
    world.redis.rpush(keys.rq_queue("q"), "a")
    world.redis.hset(keys.rq_job("a"), "status", "stopped")
    vanish(world)
    assert (world.waiting(), world.rq_list()) == ([], [])
    assert world.redis.hget(keys.rq_job("a"), "status") == b"canceled"
    assert world.redis.zscore("rq:canceled:q", "a") is not None
