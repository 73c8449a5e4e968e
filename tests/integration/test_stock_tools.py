"""What RQ's own tools do to falq's queues, and what falq makes of it."""

import re
import zlib

import pytest
from admission_world import ACCOUNT, WIDE, World, new_job
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from falq import keys
from falq.limits import Limits
from falq.phases import Phase, reopenable_from
from falq.record import JobRecord
from workers.bookkeeping import given_up, phase_to_resume


def rq_queue(world: World, name: str = "q") -> Queue:
    return Queue(name, connection=world.redis, serializer=JSONSerializer)


def rq_job(world: World, job_id: str) -> Job:
    return Job.fetch(job_id, connection=world.redis, serializer=JSONSerializer)


def pop_as_a_stock_worker_does(world: World, job_id: str) -> None:
    world.redis.lrem(keys.rq_queue("q"), 0, job_id)
    rq_job(world, job_id).set_status("started")


def test_a_job_whose_stock_worker_died_before_it_was_admitted_is_not_lost(redis_client):
    world = World(redis_client)
    world.enqueue("a")
    pop_as_a_stock_worker_does(world, "a")
    assert [grant.job_id for grant in world.admit().grants] == ["a"]
    assert world.admission.acquire("a", "stock") is None


def test_a_stock_worker_without_a_key_fails_nobodys_job(redis_client):
    world = World(redis_client)
    world.enqueue("a")
    world.redis.lrem(keys.rq_queue("q"), 0, "a")
    rq_job(world, "a").set_status("failed")
    assert [grant.job_id for grant in world.admit().grants] == ["a"]


def test_a_job_cancelled_in_a_dashboard_ends_without_a_permit(redis_client):
    world = World(redis_client)
    world.enqueue("a", limits=Limits(rate_per_min=1, burst=1, start_interval_s=0))
    world.enqueue("b", limits=Limits(rate_per_min=1, burst=1, start_interval_s=0))
    rq_job(world, "a").cancel()
    assert [grant.job_id for grant in world.admit(2).grants] == ["b"]
    record = world.journal.get("a")
    assert record.phase == Phase.CANCELLED
    assert record.error["may_be_billed"] is False
    assert world.waiting() == []


def test_a_queue_of_which_all_jobs_were_deleted_is_empty(redis_client):
    world = World(redis_client)
    for job_id in ("a", "b"):
        world.enqueue(job_id)
        rq_job(world, job_id).delete()
    assert world.admit(2).grants == ()
    assert world.waiting() == []
    assert world.admit(2).waiting is False
    assert {world.phase(job_id) for job_id in ("a", "b")} == {"cancelled"}


def test_a_stock_worker_is_held_to_the_limits(redis_client):
    world = World(redis_client)
    tight = Limits(max_concurrent=1, start_interval_s=2)
    world.enqueue("a", limits=tight)
    world.enqueue("b", limits=tight)
    for job_id in ("a", "b"):
        pop_as_a_stock_worker_does(world, job_id)
    grant = world.admission.acquire("a", "stock")
    assert grant.job_id == "a"
    assert world.admission.acquire("b", "stock") == 1.0
    world.journal.advance("a", grant.token, Phase.FAILED, fields={}, outcome={})
    assert world.admission.acquire("b", "stock") == 2.0
    world.pass_time(2_000_000)
    assert world.admission.acquire("b", "stock").job_id == "b"


def test_a_job_put_back_by_a_dashboard_is_swept_in_within_one_call(redis_client):
    world = World(redis_client)
    world.enqueue("a")
    pop_as_a_stock_worker_does(world, "a")
    world.redis.zrem(keys.waiting(ACCOUNT, "q"), "a")
    rq_queue(world)._enqueue_job(rq_job(world, "a"))
    taken, put_back = world.admission.take_in(WIDE)
    assert (taken, put_back) == (1, [])
    assert world.waiting() == ["a"]


def test_a_requeue_of_an_ended_job_is_told_once(redis_client):
    world = World(redis_client)
    token = world.start("a")
    world.journal.advance("a", token, Phase.FAILED, fields={}, outcome={})
    rq_queue(world)._enqueue_job(rq_job(world, "a"))
    assert world.admission.take_in(WIDE) == (0, [("a", "failed")])


def test_a_push_is_swept_in_even_if_a_stock_worker_popped_as_many(redis_client):
    world = World(redis_client)
    world.enqueue("a")
    pop_as_a_stock_worker_does(world, "a")
    pushed = rq_queue(world).enqueue("workers.job.run", kwargs={}, at_front=True).id
    assert world.admission.take_in(WIDE) == (1, [])
    assert world.waiting() == ["a", pushed]


def test_a_plain_job_goes_in_the_normal_lane(redis_client):
    world = World(redis_client)
    for priority in ("low", "high"):
        world.enqueue(priority, priority=priority)
    pushed = rq_queue(world).enqueue("workers.job.run", kwargs={}).id
    world.admission.take_in(WIDE)
    assert world.waiting() == ["high", pushed, "low"]


@pytest.mark.parametrize("lost", ["score", "lane"])
def test_a_record_without_its_place_goes_in_the_normal_lane(lost, redis_client):
    world = World(redis_client)
    for priority in ("low", "high"):
        world.enqueue(priority, priority=priority)
    world.enqueue("a", account="" if lost == "lane" else ACCOUNT)
    world.redis.zrem(keys.waiting(ACCOUNT, "q"), "a")
    world.redis.hdel(keys.job("a"), lost)
    assert world.admission.take_in(WIDE) == (1, [])
    assert world.waiting() == ["high", "a", "low"]


def test_a_plain_job_is_listed_with_the_time_of_its_arrival(redis_client):
    world = World(redis_client)
    world.enqueue("a")
    world.move(1_500_000)
    pushed = rq_queue(world).enqueue("workers.job.run", kwargs={}).id
    world.admission.take_in(WIDE)
    assert [each.job_id for each in world.journal.jobs()] == [pushed, "a"]
    assert world.redis.zscore(keys.JOBS, pushed) == world.wall / 1_000_000


def test_a_job_cancelled_in_a_dashboard_ends_before_its_turn_comes(redis_client):
    world = World(redis_client)
    for job_id in ("a", "b", "c"):
        world.enqueue(job_id)
    world.admission.pause("q")
    rq_job(world, "a").cancel()
    rq_job(world, "c").delete()
    world.admission.take_in(WIDE)
    assert [world.phase(job_id) for job_id in ("a", "b", "c")] == [
        "cancelled", "queued", "cancelled",
    ]  # fmt: skip
    assert world.waiting() == ["b"]


def test_both_ends_of_a_long_list_are_swept(redis_client, monkeypatch):
    monkeypatch.setattr("falq.admission.SWEEP_IDS", 2)
    world = World(redis_client)
    for number in range(9):
        world.enqueue(f"a{number}")
    pushed = [
        rq_queue(world).enqueue("workers.job.run", kwargs={}, at_front=front).id
        for front in (True, False)
    ]
    assert world.admission.take_in(WIDE) == (2, [])
    assert set(pushed) <= set(world.waiting())


def test_a_job_put_back_by_a_dashboard_has_its_old_place(redis_client):
    world = World(redis_client)
    for job_id in ("a", "b"):
        world.enqueue(job_id)
    world.redis.zrem(keys.waiting(ACCOUNT, "q"), "a")
    world.admission.take_in(WIDE)
    assert world.waiting() == ["a", "b"]


def test_a_push_in_front_of_jobs_of_falq_is_swept_in(redis_client):
    world = World(redis_client)
    world.enqueue("a")
    pushed = rq_queue(world).enqueue("workers.job.run", kwargs={}, at_front=True).id
    assert world.admission.take_in(WIDE) == (1, [])
    assert world.waiting() == ["a", pushed]


def test_a_push_between_jobs_of_falq_is_swept_in(redis_client):
    world = World(redis_client)
    world.enqueue("a")
    pushed = rq_queue(world).enqueue("workers.job.run", kwargs={}).id
    world.enqueue("b")
    assert world.admission.take_in(WIDE) == (1, [])
    assert pushed in world.waiting()


def test_an_id_that_rq_would_not_make_is_left_alone(redis_client):
    world = World(redis_client)
    world.redis.sadd(keys.RQ_QUEUES, keys.rq_queue("q"))
    world.redis.rpush(keys.rq_queue("q"), b"\xff\x00")
    world.redis.hset(b"rq:job:\xff\x00", "status", "queued")
    assert world.admission.take_in(WIDE) == (0, [])
    assert world.admit().grants == ()


def test_a_requeue_of_a_job_in_doubt_is_told_while_its_slot_is_held(redis_client):
    world = World(redis_client)
    token = world.start("a")
    for phase in (Phase.SUBMITTING, Phase.UNKNOWN):
        world.journal.advance("a", token, phase, fields={}, outcome={})
    rq_queue(world)._enqueue_job(rq_job(world, "a"))
    assert world.admission.take_in(WIDE) == (0, [("a", "unknown")])


@pytest.mark.parametrize(
    ("known", "to"),
    [
        ({"phase": "unknown"}, Phase.SUBMITTING),
        ({"phase": "failed"}, Phase.QUEUED),
        ({"phase": "cancelled"}, Phase.QUEUED),
        ({"phase": "failed", "request_id": "r"}, Phase.SUBMITTED),
        ({"phase": "failed", "request_id": "r", "result": {"images": []}}, Phase.DOWNLOADING),
    ],
)
def test_a_requeue_goes_on_where_nothing_is_paid_again(known, to):
    record = JobRecord(job_id="a", **known)
    assert phase_to_resume(record) == to
    assert Phase(record.phase) in reopenable_from(to)


def test_a_requeue_pays_for_nothing_that_a_person_gave_up():
    given = {"phase": "failed", "error": {"may_be_billed": True}}
    assert given_up(JobRecord(job_id="a", **given))
    assert not given_up(JobRecord(job_id="a", **given, request_id="r"))
    assert not given_up(JobRecord(job_id="a", phase="failed", error={"may_be_billed": False}))


def test_rq_reads_a_job_of_falq_as_its_own(redis_client):
    world = World(redis_client)
    world.enqueue("a")
    job = rq_queue(world).fetch_job("a")
    assert (job.func_name, job.kwargs, job.origin) == ("workers.job.run", {"job_id": "a"}, "q")
    assert job.get_position() == 0


def test_falq_writes_the_hash_that_rq_writes(redis_client):
    world = World(redis_client)
    world.enqueue("a")
    job = Job.create(
        "workers.job.run", kwargs={"job_id": "b"}, id="b", connection=redis_client, origin="q",
        serializer=JSONSerializer, timeout=-1, result_ttl=86_400, description="fal-ai/flux/dev",
    )  # fmt: skip
    rq_queue(world).enqueue_job(job)
    ours, theirs = (redis_client.hgetall(keys.rq_job(job_id)) for job_id in ("a", "b"))
    changing = {b"created_at", b"enqueued_at", b"data"}
    assert set(ours) == set(theirs)
    assert [ours[name] for name in set(ours) - changing] == [
        theirs[name] for name in set(ours) - changing
    ]
    assert zlib.decompress(ours[b"data"]).replace(b'"a"', b'"b"') == zlib.decompress(
        theirs[b"data"]
    )
    for name in (b"created_at", b"enqueued_at"):
        shapes = {re.sub(rb"\d", b"0", each[name]) for each in (ours, theirs)}
        assert len(shapes) == 1


def test_two_accounts_that_share_a_queue_name_take_only_their_own(redis_client):
    world = World(redis_client)
    world.enqueue("a")
    world.enqueue("b", account="other")
    assert world.admission.take_in(WIDE) == (0, [])
    assert world.waiting() == ["a"]
    assert new_job("b").account == ACCOUNT
