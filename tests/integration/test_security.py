"""What a hostile writer to Redis, or a careless set-up, cannot do (limits-and-faults §5)."""

import asyncio
import json
import os
import pickle
import zlib

import pytest
from rq import Callback, Queue
from rq.serializers import JSONSerializer

from falq import keys
from falq.cli.main import falq, run
from falq.errors import ConfigurationError
from falq.journal import Journal
from falq.limits import Limits
from falq.phases import Phase
from falq.redis_link import check_server
from falq.sandbox import running_sandbox
from falq.settings import Settings
from workers.building import build_engine

WIDE = Limits(start_interval_s=0)
MODEL = {"model_id": "sandbox/flux/dev", "arguments": {"prompt": "a cat"}}


@pytest.fixture
def sandbox():
    with running_sandbox() as running:
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


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "somebody-ran-this"


def work(environ, redis):
    engine = build_engine(Settings.from_env(environ), redis, concurrency=4, burst=True)
    engine.station.admission.take_in(WIDE)
    asyncio.run(engine.run())


def record(environ, redis, job_id):
    return Journal(redis, Settings.from_env(environ).account).get(job_id)


class Bomb:
    """Touches the marker when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.system, (f"touch {self.marker}",))


def test_pickled_notes_on_a_job_are_not_read(environ, queue, redis_client, marker):
    job = queue.enqueue("workers.job.run", kwargs=MODEL)
    redis_client.hset(keys.rq_job(job.id), "meta", pickle.dumps(Bomb(marker)))
    work(environ, redis_client)
    assert not marker.exists()
    assert record(environ, redis_client, job.id).phase == Phase.DONE


def test_a_pickled_job_runs_nothing(environ, queue, redis_client, sandbox, marker):
    job = queue.enqueue("workers.job.run", kwargs=MODEL)
    bomb = zlib.compress(pickle.dumps(Bomb(marker)))
    redis_client.hset(keys.rq_job(job.id), "data", bomb)
    work(environ, redis_client)
    assert not marker.exists()
    assert sandbox.posts() == 0
    assert record(environ, redis_client, job.id).phase == Phase.FAILED


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("os.system", "touch {}"),
        ("builtins.exec", "open({!r}, 'w')"),
        ("builtins.eval", "open({!r}, 'w')"),
        ("subprocess.getoutput", "touch {}"),
        ("workers.job.os.system", "touch {}"),
        ("workers.cli.os.system", "touch {}"),
    ],
)
def test_no_other_function_runs(environ, queue, redis_client, sandbox, marker, name, call):
    job_id = queue.enqueue(name, call.format(str(marker))).id
    work(environ, redis_client)
    assert not marker.exists()
    ended = record(environ, redis_client, job_id)
    assert ended.phase == Phase.FAILED
    assert name in ended.error["message"]
    assert sandbox.posts() == 0


@pytest.mark.parametrize("when", ["on_success", "on_failure", "on_stopped"])
def test_a_job_with_a_callback_is_refused_and_no_callback_runs(
    environ, queue, redis_client, sandbox, marker, when
):
    job_id = queue.enqueue("workers.job.run", kwargs=MODEL, **{when: Callback("os.system")}).id
    work(environ, redis_client)
    assert record(environ, redis_client, job_id).phase == Phase.FAILED
    assert "os.system" in record(environ, redis_client, job_id).error["message"]
    assert sandbox.posts() == 0


def test_a_method_of_an_instance_is_no_function_of_ours(environ, queue, redis_client, sandbox):
    job = queue.enqueue("workers.job.run", kwargs=MODEL)
    call = json.dumps(["run", {"py/object": "os"}, [], {}]).encode()
    redis_client.hset(keys.rq_job(job.id), "data", zlib.compress(call))
    work(environ, redis_client)
    assert record(environ, redis_client, job.id).phase == Phase.FAILED
    assert sandbox.posts() == 0


@pytest.mark.parametrize(
    "url",
    [
        "redis://192.0.2.1:6379/0", "redis://0.0.0.0:6379", "redis://redis.example:6379", "rediss://192.0.2.1:6380/0",
        "redis+sentinel://192.0.2.1:26379/mymaster/0",
    ],
)  # fmt: skip
def test_a_redis_elsewhere_without_a_password_is_refused(environ, monkeypatch, capsys, url):
    monkeypatch.setenv("FALQ_REDIS_URL", url)
    assert run(falq, ["jobs"]) == 2
    assert "password" in capsys.readouterr().err


def test_a_worker_refuses_a_server_that_evicts(redis_client):
    redis_client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(ConfigurationError, match="noeviction"):
            check_server(redis_client).require_no_eviction()
    finally:
        redis_client.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o707])
def test_a_home_that_others_may_enter_is_refused(tmp_path, monkeypatch, capsys, mode):
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(mode)
    monkeypatch.setenv("FALQ_HOME", str(home))
    monkeypatch.setenv("FAL_KEY", "id:secret")
    monkeypatch.delenv("FALQ_REDIS_URL", raising=False)
    assert run(falq, ["up"]) == 2
    assert "open to other users" in capsys.readouterr().err
    assert list(home.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_home_of_another_user_is_refused(tmp_path, monkeypatch, capsys):
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    os.chown(home, 65534, 65534)
    monkeypatch.setenv("FALQ_HOME", str(home))
    monkeypatch.setenv("FAL_KEY", "id:secret")
    monkeypatch.delenv("FALQ_REDIS_URL", raising=False)
    assert run(falq, ["up"]) == 2
    assert "belongs to user 65534" in capsys.readouterr().err
