"""Redis killed, full, without a disk, out of reach: said, waited out, nothing lost or repeated."""

import os
import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from world import Home, Server, finish, posts_of, until

from falq.embedded import find_server
from falq.sandbox import RunningSandbox

SYNC, QUEUE = "--sync-only", "--no-sync-only"
MODEL = "sandbox/flux/dev"
FAIL = {"FALQ_ON_QUEUE_DOWN": "fail"}
_NUMBERS = count()


@pytest.fixture
def stage(
    sandbox: RunningSandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Home]]:
    """A Redis of its own, and a home with a worker."""
    root: Path = tmp_path_factory.mktemp(f"f{next(_NUMBERS)}-")
    server = Server(root / "r")
    home = Home(root, sandbox, {"FALQ_REDIS_URL": server.url, "FAL_QUEUE_JOB_TIMEOUT": "60"})
    home.start_worker()
    yield server, home
    home.close()
    server.close()


@pytest.mark.parametrize("mode", [SYNC, QUEUE])
def test_a_killed_redis_is_waited_for_by_callers_and_workers(
    stage: tuple[Server, Home], sandbox: RunningSandbox, mode: str
) -> None:
    server, home = stage
    arguments = {"prompt": f"redis dies {mode}", "sandbox_latency": 1.5}
    waiting = home.start(*home.call_line(MODEL, arguments, mode))
    until(lambda: posts_of(sandbox, arguments))
    server.kill()
    until(lambda: posts_of(sandbox, arguments)[0]["ended"])
    refused = home.call(MODEL, {"prompt": "not now"}, **FAIL)
    assert (refused.code, refused.error["type"]) == (5, "RedisUnavailableError")
    server.start()
    run = finish(waiting)
    assert run.code == 0, run.err
    assert "Redis cannot be reached" in run.err
    assert "waiting for it" in run.err
    assert len(posts_of(sandbox, arguments)) == 1
    assert home.call(MODEL, {"prompt": f"and on {mode}"}).code == 0


def test_an_embedded_server_and_a_worker_that_are_killed_are_replaced(
    new_home: Callable[..., Home], sandbox: RunningSandbox
) -> None:
    home = new_home(FAL_QUEUE_JOB_TIMEOUT="60")
    arguments = {"prompt": "all die", "sandbox_latency": 1.0}
    waiting = home.start(*home.call_line(MODEL, arguments, QUEUE))
    until(lambda: posts_of(sandbox, arguments))
    worker = next((home.home / "run").glob("worker-*.lock")).read_text()
    os.kill(int(worker.partition('"pid": ')[2].partition(",")[0]), signal.SIGKILL)
    server = find_server(home.home)
    assert server is not None
    os.kill(server.pid, signal.SIGKILL)
    run = finish(waiting)
    assert (run.code, run.json["status"]) == (0, "COMPLETED"), run.err
    assert len(posts_of(sandbox, arguments)) == 1


def test_a_server_that_was_stopped_on_purpose_stays_down(
    new_home: Callable[..., Home], sandbox: RunningSandbox
) -> None:
    home = new_home()
    arguments = {"prompt": "stopped", "sandbox_latency": 5.0}
    waiting = home.start(*home.call_line(MODEL, arguments, QUEUE))
    until(lambda: posts_of(sandbox, arguments))
    assert home.falq("down", "--now").code == 0
    with pytest.raises(AssertionError):
        until(lambda: find_server(home.home), wait_s=3.0)
    waiting.kill()


def test_a_full_redis_takes_nothing_new_and_lets_what_runs_end(
    stage: tuple[Server, Home], sandbox: RunningSandbox
) -> None:
    server, home = stage
    narrow = {"FAL_QUEUE_MAX_CONCURRENT": "1"}
    running = {"prompt": "runs on", "sandbox_latency": 4.0}
    behind = {"prompt": "waits behind"}
    first = home.start(*home.call_line(MODEL, running, SYNC), **narrow)
    until(lambda: posts_of(sandbox, running))
    second = home.start(*home.call_line(MODEL, behind, SYNC), **narrow)
    until(lambda: len(_jobs(home)) == 2)
    server.ask("CONFIG", "SET", "maxmemory", 1)
    refused = home.call(MODEL, {"prompt": "no room in Redis"}, **FAIL)
    assert (refused.code, refused.error["retryable"]) == (5, True)
    assert "Redis is full" in refused.error["message"]
    done = finish(first)
    assert done.code == 0, done.err
    assert posts_of(sandbox, behind) == []
    server.ask("CONFIG", "SET", "maxmemory", 0)
    assert finish(second).code == 0
    for arguments in (running, behind):
        assert len(posts_of(sandbox, arguments)) == 1
    assert posts_of(sandbox, {"prompt": "no room in Redis"}) == []


def test_a_redis_without_a_disk_is_waited_for(
    stage: tuple[Server, Home], sandbox: RunningSandbox
) -> None:
    server, home = stage
    arguments = {"prompt": "no disk", "sandbox_latency": 1.0}
    waiting = home.start(*home.call_line(MODEL, arguments, SYNC))
    until(lambda: posts_of(sandbox, arguments))
    in_the_way = server.directory / "dump.rdb"
    (in_the_way / "x").mkdir(parents=True)
    server.ask("CONFIG", "SET", "save", "3600 1000000")
    server.ask("BGSAVE")
    until(lambda: _refuses_writes(server))
    until(lambda: posts_of(sandbox, arguments)[0]["ended"])
    refused = home.call(MODEL, {"prompt": "not on this disk"}, **FAIL)
    assert refused.code == 5
    assert "cannot write to its disk" in refused.error["message"]
    server.ask("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
    run = finish(waiting)
    assert run.code == 0, run.err
    assert len(posts_of(sandbox, arguments)) == 1


def _refuses_writes(server: Server) -> bool:
    try:
        server.ask("SET", "probe", "1")
    except Exception as error:
        return "MISCONF" in str(error)
    return False


def test_a_worker_cut_off_before_its_intent_is_written_sends_nothing(
    stage: tuple[Server, Home], sandbox: RunningSandbox
) -> None:
    server, home = stage
    arguments = {"prompt": "partition"}
    server.ask("CLIENT", "PAUSE", 1, "WRITE")
    job_id = home.submit(MODEL, arguments, SYNC)
    until(lambda: server.phase(job_id) == "done")
    later = {"prompt": "partition later"}
    server.ask("CLIENT", "PAUSE", 4000, "WRITE")
    waiting = home.start(*home.call_line(MODEL, later, SYNC))
    with pytest.raises(AssertionError):
        until(lambda: posts_of(sandbox, later), wait_s=2.0)
    assert finish(waiting).code == 0
    assert len(posts_of(sandbox, later)) == 1


@pytest.mark.parametrize("url", ["unix:///nowhere/at/all", "redis://127.0.0.1:1/0"])
def test_a_queue_out_of_reach_falls_back_to_the_direct_api_unless_told_not_to(
    new_home: Callable[..., Home], sandbox: RunningSandbox, url: str
) -> None:
    home = new_home(FALQ_REDIS_URL=url)
    arguments = {"prompt": f"no queue at {url}"}
    refused = home.call(MODEL, arguments, **FAIL)
    assert (refused.code, refused.error["retryable"]) == (5, True)
    assert posts_of(sandbox, arguments) == []
    assert home.saved() == []
    run = home.call(MODEL, arguments)
    assert (run.code, run.json["status"]) == (0, "COMPLETED"), run.err
    assert "limits do not apply" in run.err
    assert Path(run.json["saved_path"]).is_file()
    assert len(posts_of(sandbox, arguments)) == 1


def test_a_redis_that_does_not_let_us_in_is_named_and_its_password_is_not(
    stage: tuple[Server, Home], new_home: Callable[..., Home]
) -> None:
    server, _ = stage
    server.ask("CONFIG", "SET", "requirepass", "right-password")
    url = server.url.replace("unix://", "unix://:wrong-password@")
    home = new_home(FALQ_REDIS_URL=url, **FAIL)
    run = home.call(MODEL, {"prompt": "let me in"})
    assert (run.code, run.error["retryable"]) == (5, False)
    assert "without rights" in run.error["message"]
    assert "wrong-password" not in run.out + run.err


def test_a_worker_refuses_a_redis_that_may_throw_jobs_away(
    stage: tuple[Server, Home],
) -> None:
    server, home = stage
    server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    run = home.falq("worker", "--burst")
    assert (run.code, run.error["type"]) == (2, "ConfigurationError")
    assert "noeviction" in run.error["message"]


def _jobs(home: Home) -> list[Any]:
    import json

    return json.loads(home.falq("jobs").out)
