"""What a plain RQ job asks for comes into its record once, from whoever has the job."""

import pytest
from admission_world import ACCOUNT, WIDE, World

from falq import keys
from falq.foreign import describe, foreign_fields
from falq.phases import Phase

FIELDS = foreign_fields({"model_id": "a/b", "arguments": {"x": 1}})


@pytest.fixture
def world(redis_client):
    return World(redis_client)


def asks(world, job_id="a", account=ACCOUNT, token=None):
    return describe(world.scripts, account, job_id, queue="q", fields=FIELDS, token=token)


def test_a_job_that_no_sweep_has_seen_gets_a_record_and_is_listed(world):
    world.tick()
    world.move(1_000_000)
    before = world.now()
    assert asks(world)
    record = world.journal.get("a")
    assert (record.phase, record.queue, record.account) == (Phase.QUEUED, "q", ACCOUNT)
    assert (record.model_id, record.arguments, record.mode) == ("a/b", {"x": 1}, "sync")
    assert (record.foreign, record.skill, record.created_at) == (True, "rq", world.wall / 1e6)
    assert world.redis.zscore(keys.JOBS, "a") == pytest.approx(world.wall / 1e6, abs=0.001)
    assert world.admission.queues() == ["q"]
    assert world.now() == before + 1_000_000


def test_its_holder_describes_a_job_and_may_repeat_it(world):
    token = world.start("a")
    created_at = world.journal.get("a").created_at
    world.move(5_000_000)
    assert asks(world, token=token)
    assert asks(world, token=token)
    record = world.journal.get("a")
    assert (record.model_id, record.created_at) == ("a/b", created_at)
    assert (record.foreign, record.skill) == (False, "falq")


def test_a_job_that_waits_is_described_by_the_stock_worker_that_popped_it(world):
    world.enqueue("a")
    assert asks(world)
    assert world.journal.get("a").model_id == "a/b"


def test_nobody_describes_what_another_holds(world):
    token = world.start("a")
    assert not asks(world)
    assert not asks(world, token=token + 1)
    assert world.journal.get("a").model_id == "fal-ai/flux/dev"


def test_a_job_that_has_gone_on_is_not_described(world):
    token = world.start("a")
    world.journal.advance("a", token, Phase.SUBMITTING, fields={"submits": 1})
    assert not asks(world, token=token)


def test_a_job_of_another_account_is_not_described(world):
    world.enqueue("a", account="other")
    assert not asks(world)
    assert asks(world, account="other")


def test_a_job_without_an_account_may_be_described_by_any(world):
    world.enqueue("a", account="")
    assert asks(world)


def test_a_pause_is_told_apart_from_a_wait(world):
    world.admission.pause("paused")
    world.admission.configure("idle", WIDE)
    shown = {state.queue: state for state in world.admission.snapshot()}
    assert (shown["paused"].paused, shown["paused"].limit) == (True, "paused")
    assert (shown["paused"].wait_s, shown["idle"].wait_s) == (None, 0.0)
    assert shown["idle"].paused is False
