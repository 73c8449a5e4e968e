"""What falq status, pause and resume tell; and that looking starts and needs nothing."""

import json
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from operating import Queues

from falq import keys, presence
from falq.cli.limits import pause, resume
from falq.cli.main import run
from falq.cli.metrics import metrics
from falq.cli.status import status
from falq.cli.status_page import held_by
from falq.limits import Limits
from falq.overview import look_around
from falq.phases import Phase
from falq.settings import Settings

SLOW = Limits(max_concurrent=1, start_interval_s=0, rate_per_min=1, burst=1)


@pytest.fixture
def environ(redis_url, tmp_path, monkeypatch):
    for name in ("FAL_KEY_ID", "FAL_KEY_SECRET"):
        monkeypatch.delenv(name, raising=False)
    values = {
        "FAL_KEY": "id:canary-secret", "FALQ_FAL_URL": "http://127.0.0.1:9",
        "FALQ_REDIS_URL": redis_url, "FALQ_HOME": str(tmp_path / "home"),
    }  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


@pytest.fixture
def queues(redis_client, environ, tmp_path):
    return Queues(redis_client, environ, tmp_path / "out")


def shown(command, *args):
    answer = CliRunner().invoke(command, args, standalone_mode=False)
    assert answer.exception is None, answer.exception
    return json.loads(answer.stdout)


def test_nothing_runs_is_an_answer_and_starts_nothing(tmp_path, monkeypatch):
    for name in ("FAL_KEY", "FALQ_REDIS_URL", "FALQ_FAL_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FALQ_HOME", str(tmp_path / "home"))
    told = shown(status)
    assert (told["status"], told["server"], told["jobs"]) == ("DOWN", None, [])
    assert not (tmp_path / "home").exists()


def test_watching_tells_again_and_again_until_ctrl_c(queues):
    command = [sys.executable, "-m", "falq", "status", "--watch", "--interval", "0.2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    first = json.loads(process.stdout.readline())
    job_id = queues.enqueue({"prompt": "x"})
    queues.admission.admit("w", 1, register=False)
    while not (later := json.loads(process.stdout.readline()))["jobs"]:
        assert later["at"] > first["at"]
    assert later["jobs"][0]["job_id"] == job_id
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, "")


@pytest.mark.parametrize("command", [status, metrics])
def test_a_home_that_others_may_enter_is_told_and_not_taken_for_one_without_a_server(
    command, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("FALQ_REDIS_URL", raising=False)
    monkeypatch.setenv("FALQ_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(0o755)
    assert run(command, []) == 2
    assert "open to other users" in capsys.readouterr().err


def test_a_held_account_holds_each_of_its_queues(queues):
    queues.enqueue({"prompt": "x"})
    queues.admission.hold("@", 60.0, "fal refused the key")
    (queue,) = shown(status)["queues"]
    assert (queue["limit"], queue["held_by_account"]) == ("hold", True)
    assert 50 < queue["wait_s"] <= 60
    line = look_around(queues.settings).queues[0]
    assert held_by(line) == "the account: a hold: fal refused the key"


def test_a_queue_that_is_held_longer_than_its_account_keeps_its_own_reason(queues):
    queues.enqueue({"prompt": "x"})
    queues.admission.hold("@", 10.0, "short")
    queues.admission.hold("q", 60.0, "long")
    (queue,) = shown(status)["queues"]
    assert (queue["hold_reason"], queue["held_by_account"]) == ("long", False)


def test_a_failure_tells_when_it_was_not_how_long_it_took(queues, redis_client):
    failed = queues.start(prompt="a")
    queues.end(failed, Phase.FAILED, error={"type": "ModelError", "message": "no"})
    an_hour_ago = time.time() - 3600
    redis_client.hset(
        keys.job(failed.job_id), mapping={"created_at": an_hour_ago - 5, "finished_at": an_hour_ago}
    )
    (line,) = shown(status)["failures"]
    assert (round(line["age_s"]), round(line["ended_s"] / 60)) == (5, 60)


def test_a_redis_that_is_away_is_an_error_with_exit_code_5(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FALQ_REDIS_URL", f"unix://{tmp_path}/none.sock")
    assert run(status, []) == 5
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "RedisUnavailableError"


def test_a_waiting_queue_names_the_limit_that_holds_it_and_for_how_long(queues):
    queues.enqueue({"prompt": "first"}, limits=SLOW)
    queues.enqueue({"prompt": "second"}, limits=SLOW)
    (grant,) = queues.admission.admit("host.1.abc", 5, register=False).grants
    queues.end(grant, Phase.FAILED, error={"type": "ModelError", "message": "no"})
    (queue,) = shown(status)["queues"]
    assert (queue["waiting"], queue["running"], queue["limit"]) == (1, 0, "rate")
    assert 50 < queue["wait_s"] <= 60
    assert queue["max_concurrent"] == 1
    assert queue["rate_per_min"] == pytest.approx(1)


def test_jobs_in_flight_have_phase_age_and_worker(queues):
    grant = queues.start(prompt="x")
    told = shown(status)
    (job,) = told["jobs"]
    assert (job["job_id"], job["model_id"]) == (grant.job_id, "sandbox/flux/dev")
    assert job["phase"] == "queued"
    assert 0 <= job["age_s"] < 10


def test_workers_are_listed_with_host_version_and_what_they_hold(queues, redis_client):
    account = queues.settings.account
    presence.announce(redis_client, account, "host.1.abc", {"queues": "*", "concurrency": 7})
    grant = queues.start()
    queues.journal.advance(grant.job_id, grant.token, Phase.SUBMITTING, fields={"submits": 1})
    (worker,) = shown(status)["workers"]
    assert (worker["host"], worker["concurrency"], worker["jobs"]) == ("host", 7, 1)
    presence.leave(redis_client, account, "host.1.abc")
    assert shown(status)["workers"] == []


def test_recent_failures_and_unknown_jobs_are_told_apart(queues):
    failed, lost = queues.start(prompt="a"), queues.start(prompt="b")
    queues.end(failed, Phase.FAILED, error={"type": "ModelError", "message": "no cats"})
    queues.end(lost, Phase.UNKNOWN)
    told = shown(status)
    assert [each["error"] for each in told["failures"]] == ["no cats"]
    assert [each["job_id"] for each in told["unknown"]] == [lost.job_id]


def test_status_needs_no_key(queues, monkeypatch):
    queues.enqueue({"prompt": "x"})
    for name in ("FAL_KEY", "FALQ_FAL_URL"):
        monkeypatch.delenv(name)
    (queue,) = shown(status)["queues"]
    assert (queue["queue"], queue["waiting"]) == ("q", 1)


def test_of_very_many_queues_those_with_work_are_listed(queues, monkeypatch):
    monkeypatch.setattr("falq.overview.LISTED_QUEUES", 3)
    for number in range(6):
        queues.enqueue({"prompt": "x"}, queue=f"q{number}")
        grants = queues.admission.admit("w", 1, register=False).grants
        if number != 4:
            queues.end(grants[0], Phase.CANCELLED)
        else:
            queues.enqueue({"prompt": "y"}, queue="q4")
    seen = look_around(queues.settings)
    assert [line.queue for line in seen.queues] == ["q4"]


def test_a_paused_queue_starts_nothing_until_it_is_resumed(queues):
    queues.enqueue({"prompt": "x"})
    assert shown(pause, "q")["paused"] is True
    assert queues.admission.admit("w", 1, register=False).grants == ()
    assert shown(status)["queues"][0]["limit"] == "paused"
    assert shown(resume, "q")["paused"] is False
    assert len(queues.admission.admit("w", 1, register=False).grants) == 1


def test_the_whole_account_can_be_paused(queues):
    queues.enqueue({"prompt": "x"})
    shown(pause, "@")
    assert queues.admission.admit("w", 1, register=False).grants == ()
    shown(resume, "@")
    assert len(queues.admission.admit("w", 1, register=False).grants) == 1


def test_a_mistyped_queue_is_refused_with_a_suggestion(queues, capsys):
    queues.enqueue({"prompt": "x"}, queue="falq__flux__v2")
    assert run(pause, ["falq__flux__v3"]) == 2
    assert "did you mean falq__flux__v2?" in capsys.readouterr().err


def test_the_keyless_pause_a_queue_that_only_one_account_has(queues, monkeypatch):
    queues.enqueue({"prompt": "x"})
    for name in ("FAL_KEY", "FALQ_FAL_URL"):
        monkeypatch.delenv(name)
    assert shown(pause, "q")["account"] == queues.settings.account


def test_a_queue_of_two_accounts_needs_a_key_to_be_paused(queues, environ, monkeypatch, capsys):
    queues.enqueue({"prompt": "x"})
    other = Queues(queues.redis, {**environ, "FAL_KEY": "another:key"}, queues.out)
    other.enqueue({"prompt": "x"})
    for name in ("FAL_KEY", "FALQ_FAL_URL"):
        monkeypatch.delenv(name)
    assert run(pause, ["q"]) == 2
    assert "2 accounts" in capsys.readouterr().err


def test_the_page_on_a_terminal_says_it_all_and_obeys_no_stranger(queues):
    from rich.console import Console

    from falq.cli.status_page import page

    grant = queues.start(prompt="x")
    evil = {"type": "ModelError", "message": "\x1b]0;owned\x07 [bold]no[/bold]"}
    queues.end(grant, Phase.FAILED, error=evil)
    queues.enqueue({"prompt": "y"}, limits=SLOW)
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    with console.file:
        console.print(page(look_around(Settings.from_env(queues.environ))))
    text = console.export_text()
    assert "recent failures" in text
    assert "[bold]no[/bold]" in text
    assert "\x1b]0" not in text
    assert "no worker runs" in text
