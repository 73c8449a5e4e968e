"""What the command line takes, refuses and prints, whatever the terminal."""

import json
import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

import falq.cli.job_list
from falq.calling import Caller, CallRequest, new_job_id
from falq.cli.main import falq as command
from falq.cli.main import run
from falq.errors import NetworkError
from falq.files.spec import OutputSpec
from falq.settings import Settings

CALL = ["call", "-m", "a/b", "-a", "{}"]
INTERRUPTED = """
import os, signal, time
os.kill(os.getpid(), signal.SIGINT)
time.sleep(30)
"""


@pytest.fixture
def environ(redis_url, tmp_path, monkeypatch):
    values = {"FAL_KEY": "id:secret", "FALQ_REDIS_URL": redis_url, "FALQ_HOME": str(tmp_path)}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return values


@pytest.fixture
def falq_does(capsys):
    def does(*args: str):
        code = run(command, args)
        out, err = capsys.readouterr()
        return code, out, err

    return does


@pytest.fixture
def jobs(environ):
    """Enqueue jobs of several models; give their ids."""
    with Caller(Settings.from_env(environ)) as caller:

        def enqueue(model_id: str) -> str:
            request = CallRequest(
                model_id=model_id, arguments={"p": 1}, output=OutputSpec(directory="/nowhere")
            )
            return caller.enqueue(request, job_id=new_job_id(), attended=False).job_id

        yield [enqueue("a/b"), enqueue("a/c"), enqueue("d/e")]


@pytest.mark.parametrize(
    "line",
    [
        [*CALL, "--poll-interval", "nan"], [*CALL, "--poll-interval", "inf"],
        [*CALL, "--poll-interval", "1e400"], [*CALL, "--poll-interval", "0.001"],
        [*CALL, "--poll-interval", "2678401"], [*CALL, "--wait", "nan"], [*CALL, "--wait", "inf"],
        [*CALL, "--wait", "-1"], [*CALL, "--max-polls", "0"], [*CALL, "--idempotency-key", ""],
        [*CALL, "-o", ""], [*CALL, "-O", ""], [*CALL, "--no-wait", "--wait", "3"],
        [*CALL, "--no-queue", "--no-wait"], [*CALL, "--no-queue", "--wait", "3"],
        [*CALL, "--no-queue", "--priority", "high"], ["submit", *CALL[1:], "--wait", "3"],
        [*CALL, "--queue-config", "nope.yaml"], ["wait", "j", "--timeout", "nan"],
        ["status", "--interval", "nan"],
        ["jobs", "--since", "yesterday"], ["worker", "--queues", ""],
        ["call", "-m", "a/b", "-a", '{"prompt": "\\ud800"}'],
        ["call", "-m", "a/b", "-a", '{"prompt": "x'], ["call", "-m", "a/b", "-a", "[]"],
        ["call", "-m", "a/b", "--args-file", "missing.json"], [*CALL, "--args-file", "x"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_one_line_with_a_hint(line, environ, falq_does):
    code, out, err = falq_does(*line)
    error = json.loads(out)["error"]
    assert code == 2
    assert error["hint"]
    assert len(err.splitlines()) == 2
    assert "at at" not in error["message"]


def test_an_error_names_the_model_that_it_is_about(environ, falq_does, monkeypatch):
    assert json.loads(falq_does("call", "-m", "a/b", "-a", "{")[1])["error"]["model_id"] == "a/b"
    unread = falq_does("call", "-m", "a/b", "--poll-interval", "x")[1]
    assert json.loads(unread)["error"]["model_id"] == "a/b"
    monkeypatch.delenv("FAL_KEY")
    monkeypatch.delenv("FALQ_REDIS_URL")
    code, out, _ = falq_does(*CALL)
    assert (code, json.loads(out)["error"]["model_id"]) == (4, "a/b")


def test_a_cancelled_job_names_its_model(jobs, falq_does):
    assert falq_does("cancel", jobs[0])[0] == 0
    code, out, _ = falq_does("wait", jobs[0])
    assert (code, json.loads(out)["error"]["model_id"]) == (3, "a/b")


@pytest.mark.parametrize(
    "line", [["wait", "none"], ["result", "none"], ["cancel", "none"], ["pause", "none"], CALL[:3]]
)
def test_json_that_is_asked_for_is_printed_on_a_terminal_too(line, environ, falq_does, monkeypatch):
    with monkeypatch.context() as terminal:
        terminal.setattr(sys.stdout, "isatty", lambda: True)
        plain, wanted = falq_does(*line), falq_does(*line, "--json")
    assert plain[1] == ""
    assert json.loads(wanted[1])["status"] == "FAILED"
    assert plain[0] == wanted[0] == 2


@pytest.mark.parametrize("columns", ["80", "200"])
def test_ids_stay_whole_in_the_table_of_jobs(columns, jobs, falq_does, monkeypatch):
    monkeypatch.setattr(falq.cli.job_list, "as_table", lambda _: True)
    monkeypatch.setenv("COLUMNS", columns)
    code, out, _ = falq_does("jobs")
    assert code == 0
    assert [job_id for job_id in jobs if job_id in out.split()] == jobs
    assert max(map(len, out.splitlines())) <= int(columns)


def test_jobs_are_listed_by_model_phase_queue_and_age(jobs, falq_does):
    def listed(*flags: str) -> list[str]:
        code, out, _ = falq_does("jobs", *flags)
        assert code == 0
        return [row["job_id"] for row in json.loads(out)]

    falq_does("cancel", jobs[2])
    assert listed("--model", "a/*") == [jobs[1], jobs[0]]
    assert listed("--model", "a/b", "--model", "d/e") == [jobs[2], jobs[0]]
    assert listed("--phase", "queued") == [jobs[1], jobs[0]]
    assert listed("--phase", "queued", "--phase", "cancelled") == jobs[::-1]
    assert listed("--since", "1h") == jobs[::-1]
    assert listed("--since", "2100-01-01") == []


def test_a_time_in_json_has_its_zone(jobs, falq_does):
    row = json.loads(falq_does("jobs")[1])[0]
    assert datetime.fromisoformat(row["created"]).utcoffset() is not None


def test_a_queue_that_there_is_not_is_no_empty_list(jobs, falq_does):
    queue = json.loads(falq_does("jobs")[1])[0]["queue"]
    code, out, _ = falq_does("jobs", "--queue", f"{queue}x")
    assert code == 2
    assert queue in json.loads(out)["error"]["hint"]


def test_a_cancel_says_about_bills_what_the_job_says(jobs, environ, falq_does, redis_client):
    error = json.dumps(NetworkError("cannot connect", job_id=jobs[0]).to_dict())
    redis_client.hset(
        f"falq:job:{jobs[0]}", mapping={"phase": "failed", "submits": 1, "error": error}
    )
    shown = json.loads(falq_does("cancel", jobs[0])[1])
    assert (shown["status"], shown["may_be_billed"]) == ("already_ended", False)


def test_ctrl_c_while_falq_is_loaded_ends_it_without_a_word(tmp_path):
    (tmp_path / "click.py").write_text(INTERRUPTED)
    ended = subprocess.run(
        [sys.executable, "-m", "falq", "jobs"],
        env=dict(os.environ) | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"},
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_an_end_of_file_inside_falq_is_no_ctrl_c(falq_does, monkeypatch):
    def damaged(_: str) -> None:
        raise EOFError("marshal data too short")

    monkeypatch.setattr("falq.cli.main.importlib.import_module", damaged)
    code, out, _ = falq_does("jobs")
    assert code == 1
    assert "marshal data too short" in json.loads(out)["error"]["message"]


def test_ctrl_c_that_a_shell_ignores_stays_ignored():
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        "from falq.cli import interrupt; interrupt.leave_at_once(); interrupt.hear();"
        "assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
