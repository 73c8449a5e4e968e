"""A worker that falq starts is up when it works, and says why when it cannot."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from world import KEY, Home, Server

import workers.launching
from falq.calling import Caller, CallRequest, new_job_id
from falq.errors import UnreachableError
from falq.files.spec import OutputSpec
from falq.phases import Phase
from falq.settings import Settings

START = [("up",), ("worker", "--background")]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "r")
    yield server
    server.close()


@pytest.mark.parametrize("command", START)
def test_what_was_started_is_told_on_stdout(new_home: Callable[..., Home], command) -> None:
    run = new_home().falq(*command)
    assert run.code == 0, run.err
    assert (run.json["status"], run.json["redis"]) == ("UP", "embedded")


@pytest.mark.parametrize("command", START)
def test_nothing_is_up_where_redis_is_not(new_home: Callable[..., Home], command) -> None:
    home = new_home(FALQ_REDIS_URL="unix:///nowhere/s")
    run = home.falq(*command)
    assert (run.code, run.error["type"]) == (5, "RedisUnavailableError")


def test_a_wrong_password_and_missing_rights_are_told(
    new_home: Callable[..., Home], server: Server
) -> None:
    with Redis(unix_socket_path=str(server.socket)) as redis:
        redis.acl_setuser(
            "limited", enabled=True, passwords=["+pw"], keys=["*"],
            commands=["+ping", "+info", "+hello", "+client", "+time", "+auth"],
        )  # fmt: skip
    for password in ("wrong", "pw"):
        home = new_home(FALQ_REDIS_URL=f"unix://limited:{password}@{server.socket}")
        run = home.falq("up")
        assert run.code in (2, 5), run.out
        assert len(run.err.splitlines()) <= 2
        assert run.error["message"]
        assert f":{password}@" not in run.err


def test_a_key_of_the_command_line_gets_a_worker_of_its_own(
    new_home: Callable[..., Home],
) -> None:
    home = new_home(FAL_ALLOW_API_KEY_ARG="1", FAL_KEY="")
    run = home.call("sandbox/flux/dev", {"prompt": "my own key"}, "-k", KEY)
    assert run.code == 0, run.err


def test_a_job_without_a_worker_waits_and_the_error_names_it(
    new_home: Callable[..., Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = new_home()
    settings = Settings.from_env(home.environ())
    monkeypatch.setattr(sys, "executable", "/bin/false")
    request = CallRequest(model_id="a/b", arguments={}, output=OutputSpec(directory=str(home.root)))
    job_id = new_job_id()

    def start() -> None:
        workers.launching.start_background(settings)

    with (
        pytest.raises(UnreachableError, match="the worker did not start") as caught,
        Caller(settings, start) as caller,
    ):
        caller.enqueue(request, job_id=job_id, attended=False)
    assert caught.value.job_id == job_id
    assert f"the job waits: falq wait {job_id}" in caught.value.filled_hint
    with Caller(settings) as caller:
        assert caller.get(job_id).phase == Phase.QUEUED
