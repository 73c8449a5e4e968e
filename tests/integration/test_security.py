"""What a hostile writer to Redis, or a careless set-up, cannot do (limits-and-faults §5)."""

import asyncio
import http.server
import json
import os
import pickle
import re
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest
from rq import Callback, Queue, Repeat, Retry, Webhook
from rq.serializers import JSONSerializer

import falq as falq_package
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

DOCS = Path(falq_package.__file__).parents[1] / "docs"
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


@pytest.fixture
def called():
    """Serve an address that nobody should ask; give it and who asked."""
    asked = []

    class Ears(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Ears)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", asked
    server.shutdown()
    thread.join()
    server.server_close()


def stock_worker(environ, redis_url, tmp_path):
    """Run RQ's own worker as the guide has it, until the queue is empty."""
    line = re.search(r"`rq (worker [^`]+) QUEUE`", (DOCS / "security.md").read_text())[1]
    line += " --burst media"
    done = subprocess.run(
        [sys.executable, "-m", "rq.cli", *line.split(), "--url", redis_url],
        env={**os.environ, **environ}, cwd=tmp_path, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


EXTRAS = {
    "webhooks": lambda url: {"webhooks": [Webhook(url, "finished"), Webhook(url, "failed")]},
    "retries": lambda _: {"retry": Retry(max=2)},
    "repeats": lambda _: {"repeat": Repeat(times=2)},
}


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_job_that_asks_rq_for_more_is_refused_and_no_address_is_called(
    environ, queue, redis_client, sandbox, called, extra
):
    url, asked = called
    job_id = queue.enqueue("workers.job.run", kwargs=MODEL, **EXTRAS[extra](url)).id
    work(environ, redis_client)
    ended = record(environ, redis_client, job_id)
    assert (ended.phase, sandbox.posts(), asked) == (Phase.FAILED, 0, [])
    assert extra in ended.error["message"]


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_stock_worker_with_falqs_job_class_refuses_them_too(
    environ, queue, redis_url, sandbox, called, tmp_path, extra
):
    url, asked = called
    queue.enqueue("workers.job.run", kwargs=MODEL, **EXTRAS[extra](url))
    told = stock_worker(environ, redis_url, tmp_path)
    assert (sandbox.posts(), asked) == (0, [])
    assert f"falq does no {extra}" in told


def test_a_stock_worker_with_falqs_job_class_runs_no_other_function(
    environ, queue, redis_url, tmp_path, marker
):
    job = queue.enqueue("os.system", f"touch {marker}")
    told = stock_worker(environ, redis_url, tmp_path)
    assert not marker.exists()
    assert "'os.system' is no function that falq runs" in told
    assert job.get_status() == "failed"


def test_a_stock_worker_with_falqs_job_class_does_falqs_jobs(
    environ, queue, redis_url, sandbox, tmp_path
):
    job = queue.enqueue("workers.job.run", kwargs=MODEL)
    stock_worker(environ, redis_url, tmp_path)
    assert job.get_status() == "finished"
    assert sandbox.posts() == 1


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
