"""Jobs that stock tools enqueue with ``Queue.enqueue``, done by falq's worker and by RQ's."""

import asyncio

import pytest
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer

from falq.journal import Journal
from falq.limits import Limits
from falq.phases import Phase
from falq.sandbox import running_sandbox
from falq.settings import Settings
from workers.building import build_engine

MODEL = "sandbox/flux/dev"
WIDE = Limits(start_interval_s=0)


@pytest.fixture
def sandbox():
    with running_sandbox(latency=0) as running:
        yield running


@pytest.fixture
def environ(sandbox, redis_url, tmp_path, monkeypatch):
    values = {
        "FAL_KEY": "id:secret", "FALQ_FAL_URL": sandbox.url, "FALQ_REDIS_URL": redis_url,
        "FALQ_HOME": str(tmp_path / "home"),
    }  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


@pytest.fixture
def queue(redis_client):
    return Queue("media", connection=redis_client, serializer=JSONSerializer)


def push(queue: Queue, **keywords) -> str:
    return queue.enqueue("workers.job.run", kwargs=keywords).id


def work(environ, redis) -> Settings:
    """Let a worker of falq sweep and do what is there."""
    settings = Settings.from_env(environ)
    engine = build_engine(settings, redis, concurrency=4, burst=True)
    engine.station.admission.take_in(WIDE)
    asyncio.run(engine.run())
    return settings


def record(redis, environ, job_id: str):
    return Journal(redis, Settings.from_env(environ).account).get(job_id)


@pytest.mark.parametrize("mode", ["sync", "queue"])
def test_a_worker_does_what_a_stock_tool_enqueued(mode, environ, queue, redis_client, sandbox):
    arguments = {"prompt": "a cat"}
    job_id = push(queue, model_id=MODEL, arguments=arguments, sync=mode == "sync")
    work(environ, redis_client)
    done = record(redis_client, environ, job_id)
    assert (done.phase, done.mode, done.model_id) == (Phase.DONE, mode, MODEL)
    assert done.outcome["status"] == "COMPLETED"
    assert done.outcome["files"]
    assert sandbox.posts() == 1


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"arguments": {}}, "model_id is missing"),
        ({"model_id": MODEL}, "arguments is missing"),
        ({"model_id": MODEL, "arguments": "a cat"}, "arguments is str"),
        ({"model_id": "cat", "arguments": {}}, "'cat' is no fal.ai model id"),
        ({"model_id": MODEL, "arguments": {}, "prompt": 1}, "unknown keyword argument 'prompt'"),
        ({"model_id": MODEL, "arguments": {}, "sync": 1}, "sync is int"),
    ],
)
def test_what_cannot_be_run_is_refused_in_clear_words(
    keywords, said, environ, queue, redis_client, sandbox
):
    job_id = push(queue, **keywords)
    work(environ, redis_client)
    refused = record(redis_client, environ, job_id)
    assert refused.phase == Phase.FAILED
    assert said in refused.error["message"]
    assert refused.error["may_be_billed"] is False
    assert sandbox.posts() == 0


def test_a_job_in_another_serializer_is_refused(environ, redis_client, sandbox):
    pickling = Queue("media", connection=redis_client)
    job_id = push(pickling, model_id=MODEL, arguments={"prompt": "a cat"})
    work(environ, redis_client)
    assert "RQ's JSON" in record(redis_client, environ, job_id).error["message"]
    assert sandbox.posts() == 0


def test_another_function_is_refused(environ, queue, redis_client, sandbox):
    job_id = queue.enqueue("os.system", "true").id
    work(environ, redis_client)
    assert "os.system" in record(redis_client, environ, job_id).error["message"]


def test_a_stock_worker_does_what_a_stock_tool_enqueued(environ, queue, redis_client, sandbox):
    job_id = push(queue, model_id=MODEL, arguments={"prompt": "a cat"})
    worker = SimpleWorker([queue], connection=redis_client, serializer=JSONSerializer)
    worker.work(burst=True)
    assert record(redis_client, environ, job_id).phase == Phase.DONE
    assert Job.fetch(job_id, redis_client, serializer=JSONSerializer).get_status() == "finished"
    assert sandbox.posts() == 1


def test_a_stock_worker_names_a_keyword_that_is_wrong(environ, queue, redis_client, sandbox):
    job_id = push(queue, model_id=MODEL)
    worker = SimpleWorker([queue], connection=redis_client, serializer=JSONSerializer)
    worker.work(burst=True)
    job = Job.fetch(job_id, redis_client, serializer=JSONSerializer)
    assert "arguments is missing" in job.latest_result().exc_string
    assert sandbox.posts() == 0
