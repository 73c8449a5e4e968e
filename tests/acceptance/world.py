"""falq as its users run it: real processes, each home a machine of its own, fal a sandbox."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from falq.fal.arguments import encode_arguments
from falq.home import log_directory
from falq.journal import Journal
from falq.record import JobRecord
from falq.sandbox import RunningSandbox
from falq.sandbox.ledger import short_hash
from falq.server_binary import find_binary

KEY = "canary-id:canary-secret-f3a91c"
#: Limits of a queue that never hold anything up.
WIDE = {
    "FAL_QUEUE_MAX_CONCURRENT": "50",
    "FAL_QUEUE_START_INTERVAL": "0",
    "FAL_QUEUE_RATE_PER_MIN": "60000",
    "FAL_QUEUE_BURST": "1000",
}


@dataclass(frozen=True)
class Run:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """What a program reads: the one JSON object on stdout."""
        lines = self.out.splitlines()
        assert len(lines) == 1, (self.out, self.err)
        return json.loads(lines[0])

    @property
    def error(self) -> dict[str, Any]:
        assert self.json["status"] == "FAILED", self.json
        return self.json["error"]


@dataclass
class Home:
    """One machine: a FALQ_HOME, a working directory, and the processes started there."""

    root: Path
    sandbox: RunningSandbox
    env: dict[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def out(self) -> Path:
        return self.root / "out"

    def environ(self, **more: str) -> dict[str, str]:
        self.root.mkdir(parents=True, exist_ok=True)
        base = {
            "PATH": os.environ["PATH"], "HOME": str(self.root), "FALQ_HOME": str(self.home),
            "FALQ_FAL_URL": self.sandbox.url, "FAL_KEY": KEY, "FALQ_LOOK_UP_GRACE_S": "1",
            "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        return {**base, **WIDE, **self.env, **more}

    def start(self, *args: str, **env: str) -> subprocess.Popen[str]:
        """Start a falq command."""
        environ = self.environ(**env)
        process = subprocess.Popen(
            [sys.executable, "-m", "falq", *args],
            env=environ, cwd=self.root, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def falq(self, *args: str, timeout_s: float = 60.0, **env: str) -> Run:
        """Run a falq command to its end."""
        return finish(self.start(*args, **env), timeout_s)

    def call(self, model_id: str, arguments: dict[str, Any], *args: str, **env: str) -> Run:
        return self.falq(*self.call_line(model_id, arguments, *args), **env)

    def call_line(self, model_id: str, arguments: dict[str, Any], *args: str) -> list[str]:
        return ["call", "-m", model_id, "-a", json.dumps(arguments), "-o", str(self.out), *args]

    def start_worker(self, **env: str) -> subprocess.Popen[str]:
        """Start a worker in the foreground; its log goes where all logs of the home go."""
        environ = self.environ(**env)
        self.home.mkdir(mode=0o700, exist_ok=True)
        logs = log_directory(self.home)
        with (logs / f"worker-{len(self.processes)}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "falq", "worker"],
                env=environ, cwd=self.root, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                text=True, start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def submit(self, model_id: str, arguments: dict[str, Any], *args: str, **env: str) -> str:
        """Enqueue a call, and give its job's id."""
        run = self.call(model_id, arguments, "--no-wait", *args, **env)
        assert run.code == 75, run.err
        return run.json["job_id"]

    def job(self, job_id: str) -> dict[str, Any]:
        rows = json.loads(self.falq("jobs").out)
        return next(row for row in rows if row["job_id"] == job_id)

    def saved(self) -> list[str]:
        """Name what lies in the output directory, hidden files too."""
        return sorted(each.name for each in self.out.iterdir()) if self.out.exists() else []

    def close(self) -> None:
        """End every process that was started here, and the embedded server."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.communicate()
        if (self.home / "redis").exists():
            self.falq("down", "--now")

    def texts(self) -> dict[str, bytes]:
        """Read everything that was written below the root."""
        files = (path for path in self.root.rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)): path.read_bytes() for path in files}


def finish(process: subprocess.Popen[str], timeout_s: float = 60.0) -> Run:
    out, err = process.communicate(timeout=timeout_s)
    run = Run(process.returncode, out, err)
    assert "Traceback" not in run.err, run.err
    assert "canary-secret" not in run.out + run.err
    return run


def until(found: Callable[[], Any], wait_s: float = 20.0, every_s: float = 0.05) -> Any:
    """Wait for something to become true, and give it."""
    give_up_at = time.monotonic() + wait_s
    while not (value := found()):
        assert time.monotonic() < give_up_at, f"not within {wait_s} s"
        time.sleep(every_s)
    return value


def posts_of(sandbox: RunningSandbox, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """List the paid POSTs that sent these arguments."""
    wanted = short_hash(encode_arguments(arguments))
    return [each for each in sandbox.log() if each["arguments_hash"] == wanted]


def paid(posts: Sequence[dict[str, Any]]) -> int:
    """Count those that fal took."""
    return sum(1 for post in posts if post["registered"])


class Server:
    """A Redis of its own for one scenario, as durable as the embedded one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "s"
        self.start()

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start it, also again after a kill: its data are on the disk."""
        self.directory.mkdir(parents=True, exist_ok=True)
        options = {
            "--port": "0", "--unixsocket": str(self.socket), "--dir": str(self.directory),
            "--save": "", "--appendonly": "yes", "--appendfsync": "always",
            "--maxmemory-policy": "noeviction", "--logfile": str(self.directory / "log"),
        }  # fmt: skip
        command = [find_binary().path, *(part for pair in options.items() for part in pair)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        until(self.answers)

    def answers(self) -> bool:
        assert self.process.poll() is None, (self.directory / "log").read_text()
        try:
            return bool(self.ask("PING"))
        except RedisError:
            return False

    def ask(self, *command: str | int) -> Any:
        with Redis(unix_socket_path=str(self.socket), socket_timeout=5) as redis:
            return redis.execute_command(*command)

    def record(self, job_id: str) -> JobRecord:
        """Read a job's record straight from the journal."""
        with Redis(unix_socket_path=str(self.socket), socket_timeout=5) as redis:
            return Journal(redis, "").get(job_id)

    def phase(self, job_id: str) -> str:
        return self.record(job_id).phase

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
