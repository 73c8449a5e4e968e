"""Users of Redis with no more rights than they need: one for callers, one for workers."""

import asyncio
import contextlib
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from admission_world import WIDE, new_job
from redis import Redis
from redis.exceptions import NoPermissionError
from rq import Queue
from rq.serializers import JSONSerializer

import falq
from falq import enqueue as door
from falq import presence
from falq.admission import Admission
from falq.doctor import examine
from falq.journal import Journal
from falq.overview import look_around
from falq.phases import Phase
from falq.redis_link import check_server, connect
from falq.sandbox import running_sandbox
from falq.scripts import compose
from falq.settings import Settings
from workers.building import build_engine

GUIDE = (Path(falq.__file__).parents[1] / "docs" / "operations.md").read_text()


def granted(user: str) -> str:
    """Give the commands that the guide's users.acl lets a user run."""
    line = next(each for each in GUIDE.splitlines() if each.startswith(f"user falq-{user} "))
    return " ".join(word[1:] for word in line.split() if word.startswith("+"))


CALLER, WORKER = granted("caller"), granted("worker")
#: What a worker runs only now and then: with replicas, and to look a lost request up.
WORKERS_RARE = ("wait", "mget")
CALLERS_SCRIPTS = ("enqueue", "cancel", "reopen", "deliver", "configure", "explain", "probe")
WORKERS_SCRIPTS = tuple(
    path.stem
    for path in (Path(falq.__file__).parent / "lua").glob("*.lua")
    if "#!lua" in path.read_text() and path.stem not in ("enqueue", "cancel", "deliver")
)


def called_by(scripts: Iterable[str]) -> set[str]:
    """Give the commands that scripts call."""
    return {
        "|".join(names).strip("|").lower()
        for script in scripts
        for names in re.findall(r"call\('([A-Z]+)'(?:, '(NUMSUB)')?", compose(script))
    }


def used(redis: Redis) -> set[str]:
    """Give the commands that were run since the statistics were reset."""
    return {name.removeprefix("cmdstat_") for name in redis.info("commandstats")}


KEYS = ["falq:*", "rq:*"]


@contextlib.contextmanager
def user(redis: Redis, url: str, commands: str):
    redis.acl_setuser(
        "limited", enabled=True, nopass=True, keys=KEYS, channels=KEYS,
        commands=[f"+{command}" for command in commands.split()],
    )  # fmt: skip
    try:
        yield url.replace("unix://", "unix://limited:any@")
    finally:
        redis.acl_deluser("limited")


@pytest.fixture
def sandbox():
    with running_sandbox() as running:
        yield running


def settings_for(url: str, sandbox, tmp_path) -> Settings:
    return Settings.from_env(
        {
            "FAL_KEY": "id:secret", "FALQ_FAL_URL": sandbox.url, "FALQ_REDIS_URL": url,
            "FALQ_HOME": str(tmp_path / "home"),
        }
    )  # fmt: skip


def test_a_caller_needs_all_of_its_rights_and_no_more(redis_client, redis_url, tmp_path):
    redis_client.config_resetstat()
    with user(redis_client, redis_url, CALLER) as url:
        settings = Settings.from_env({"FALQ_REDIS_URL": url, "FALQ_HOME": str(tmp_path / "home")})
        redis = connect(settings)
        journal, admission = Journal(redis, "acc"), Admission(redis, "acc")
        for job_id, account in (("a", "acc"), ("b", "acc"), ("c", "")):
            door.enqueue(redis, new_job(job_id, account=account, attended=True))
            door.touch_caller(redis, job_id)
        assert door.read_events(redis, "a", "0-0", 0.01)
        journal.cancel("a")
        journal.reopen("a", Phase.QUEUED, {})
        journal.deliver("a")
        assert [record.job_id for record in journal.jobs()] == ["c", "b", "a"]
        assert journal.position(journal.get("b")) is not None
        assert journal.unknown() == []
        admission.pause("q")
        admission.resume("q")
        assert len(admission.snapshot()) == 2
        assert presence.is_served(redis, "acc") is False
        assert presence.workers(redis) == []
        check_server(redis)
        with redis.pubsub() as listening:
            listening.subscribe("falq:caller:a")
            assert listening.get_message(timeout=1)
        with pytest.raises(NoPermissionError):
            redis.flushdb()
        door.leave_caller(redis, "b")
        examine({"FALQ_REDIS_URL": url, "FALQ_HOME": str(tmp_path / "home")})
        look_around(settings)
        run = used(redis_client) | called_by(CALLERS_SCRIPTS)
    assert set(CALLER.split()) - run == set()


def test_a_worker_needs_all_of_its_rights_and_no_more(redis_client, redis_url, sandbox, tmp_path):
    queue = Queue("media", connection=redis_client, serializer=JSONSerializer)
    call = {"model_id": "sandbox/flux/dev", "arguments": {"prompt": "a cat"}}
    foreign = queue.enqueue("workers.job.run", kwargs=call).id
    with user(redis_client, redis_url, WORKER) as url:
        settings = settings_for(url, sandbox, tmp_path)
        redis = connect(settings, role="worker")
        options = {"output": {"directory": str(tmp_path)}}
        for job_id, model_id in (("a", "sandbox/flux/dev"), ("b", "sandbox/none")):
            job = new_job(job_id, account=settings.account, model_id=model_id, options=options)
            door.enqueue(redis_client, job)
        redis_client.acl_log_reset()
        redis_client.config_resetstat()
        check_server(redis)
        engine = build_engine(settings, redis, concurrency=4, burst=True)
        engine.station.admission.take_in(WIDE)
        engine.station.admission.reap()
        engine.station.admission.hold("q", 0.01, "test")
        asyncio.run(engine.run())
        redis.close()
        assert redis_client.acl_log() == []
        examine({"FALQ_REDIS_URL": url, "FALQ_HOME": str(tmp_path / "home")})
        run = used(redis_client) | called_by(WORKERS_SCRIPTS)
    assert set(WORKER.split()) - run - set(WORKERS_RARE) == set()
    found = {record.job_id: record.phase for record in Journal(redis_client, "").jobs()}
    assert found == {foreign: Phase.DONE, "a": Phase.DONE, "b": Phase.FAILED}


def test_looking_around_needs_no_more_than_a_callers_rights(
    redis_client, redis_url, sandbox, tmp_path
):
    with user(redis_client, redis_url, CALLER) as url:
        settings = settings_for(url, sandbox, tmp_path)
        door.enqueue(redis_client, new_job("a", account=settings.account))
        redis_client.acl_log_reset()
        assert [line.queue for line in look_around(settings).queues] == ["q"]
        assert redis_client.acl_log() == []


@pytest.mark.parametrize(
    ("scripts", "rights"),
    [
        (CALLERS_SCRIPTS, CALLER),
        (WORKERS_SCRIPTS, WORKER),
    ],
)
def test_whoever_may_run_a_script_may_run_all_that_it_calls(scripts, rights):
    assert called_by(scripts) - set(rights.split()) == set()
