"""Shells complete falq: click's scripts for bash, zsh and fish, and what they ask falq for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from operating import Queues

#: The command as an install puts it beside the interpreter.
FALQ = Path(sys.executable).with_name("falq")


def ask(environ=None, **variables):
    done = subprocess.run(
        [FALQ], env={**os.environ, **(environ or {}), **variables}, capture_output=True, text=True,
        timeout=30, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout


def completed(words, environ=None):
    """Give what bash is offered for the last of these words."""
    told = ask(
        environ, COMP_WORDS=" ".join(words), COMP_CWORD=str(len(words) - 1),
        _FALQ_COMPLETE="bash_complete",
    )  # fmt: skip
    return [line.partition(",")[2] for line in told.splitlines() if line]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell_is_generated_and_is_one(shell):
    script = ask(_FALQ_COMPLETE=f"{shell}_source")
    assert f"_FALQ_COMPLETE={shell}_complete" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True, timeout=10)


def test_commands_and_options_are_completed():
    assert completed(["falq", "sta"]) == ["status"]
    assert "--no-queue" in completed(["falq", "call", "--no"])
    assert completed(["falq", "call", "--priority", "h"]) == ["high"]


def test_queues_and_jobs_are_completed(redis_client, redis_url, tmp_path):
    environ = {
        "FAL_KEY": "id:secret", "FALQ_REDIS_URL": redis_url, "FALQ_HOME": str(tmp_path / "home")
    }  # fmt: skip
    queues = Queues(redis_client, environ, tmp_path)
    job_id = queues.enqueue({"prompt": "x"}, queue="falq__flux__v2")
    queues.enqueue({"prompt": "x"}, queue="other")
    assert completed(["falq", "pause", "fal"], environ) == ["falq__flux__v2"]
    assert job_id in completed(["falq", "wait", job_id[:4]], environ)


def test_without_a_server_nothing_is_completed_and_nothing_is_started(tmp_path):
    for environ in (
        {"FALQ_REDIS_URL": "", "FALQ_HOME": str(tmp_path / "home")},
        {"FALQ_REDIS_URL": f"unix://{tmp_path}/none.sock"},
        {"FALQ_REDIS_URL": "nonsense"},
    ):
        assert completed(["falq", "resume", ""], environ) == []
    assert not (tmp_path / "home").exists()


def test_python_m_falq_is_the_same_command():
    told = subprocess.run(
        [sys.executable, "-m", "falq", "--version"], capture_output=True, text=True, check=True
    )
    assert (
        told.stdout
        == subprocess.run([FALQ, "--version"], capture_output=True, text=True, check=True).stdout
    )
