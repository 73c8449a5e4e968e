"""``falq demo``: the main job with nothing but an installed falq, from a skill to a file on disk.

Everything runs as an agent would run it, in processes of its own: no step is a short cut.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from falq.cli.show import Voice, as_table, emit, styled
from falq.errors import FalqError, UnreachableError

MODEL_ID = "sandbox/flux/schnell"
PROMPT = "a paper boat on a quiet lake at sunrise"
#: Seconds that the sandbox takes for a picture, so that there is something to watch.
LATENCY_S = 0.4
#: No step takes longer on any machine that works, seconds.
STEP_S = 60.0


@click.command()
@click.option("-o", "--output", metavar="DIR", default="./falq-demo", show_default=True,
              help="Where the skill and the picture go.")  # fmt: skip
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON on a terminal too.")
@click.option("-q", "--quiet", is_flag=True, help="No talk.")
def demo(output: str, json_wanted: bool, quiet: bool) -> None:
    """Run the main job with nothing but falq: no key, no server, no network.

    Starts an embedded Redis, a local fal and a worker, generates a skill, and runs its
    wrapper as an agent would. Ends everything that it started. Nothing is paid for.
    """
    from falq.sandbox import running_sandbox

    root = Path(output).absolute()
    stage = Stage(root, Voice(quiet=quiet))
    stage.say("a local fal", f"falq sandbox (latency {LATENCY_S} s): no key, no cost")
    with (
        tempfile.TemporaryDirectory(prefix="falq-") as home,
        running_sandbox(latency=LATENCY_S) as fal,
    ):
        stage.env = environment(Path(home) / "state", fal.url)
        with stage.ended():
            shown = stage.play()
        posts = fal.posts(MODEL_ID)
    if posts != 1:
        raise UnreachableError(f"the demo sent {posts} paid requests: expected one")
    shown["seconds"] = round(stage.elapsed_s, 2)
    stage.say("done", f"{shown['seconds']} s, one paid request, nothing left running")
    if not as_table(json_wanted):
        emit(shown)


def environment(home: Path, fal_url: str) -> dict[str, str]:
    """Give the environment of the demo's processes: nothing of the user's own set-up."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("FAL_", "FALQ_"))
    }
    return kept | {"FALQ_HOME": str(home), "FALQ_FAL_URL": fal_url}


class Stage:
    """The demo's steps.

    Args:
        root: Where the skill and the picture go.
        voice: Tells each step.
    """

    def __init__(self, root: Path, voice: Voice) -> None:
        self.env: dict[str, str] = {}
        self._root = root
        self._voice = voice
        self._begun = time.monotonic()
        self._count = 0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self._begun

    def say(self, step: str, text: str) -> None:
        """Tell a step."""
        self._count += 1
        head = styled(f"{self._count}. {step}", "1;36")
        self._voice.say(f"[{self.elapsed_s:4.1f}s] {head}: {text}")

    @contextmanager
    def ended(self) -> Iterator[None]:
        """End the worker and the server whatever happens inside."""
        try:
            yield
        finally:
            self._falq("down", "--quiet", check=False)

    def play(self) -> dict[str, Any]:
        """Run the steps and give what came out.

        Raises:
            FalqError: A step failed; its own words are told.
        """
        up = self._falq("up", "--quiet")
        self.say("falq up", f"embedded Redis and a worker (pid {up['worker_pid']})")
        skills = self._root / ".claude" / "skills"
        self._falq("generate", "-m", MODEL_ID, "-o", str(skills), "--force", "--quiet")
        wrapper = next(iter(sorted(skills.glob("sandbox-*/scripts/sandbox_*.py"))))
        self.say("falq generate", f"a skill for {MODEL_ID} in {wrapper.parents[1]}")
        command = [str(wrapper), "--prompt", PROMPT, "--output", str(self._root / "output")]
        self.say("the wrapper", f"python {wrapper.name} --prompt {PROMPT!r}")
        outcome = self._run([sys.executable, *command])
        files = check_files(outcome)
        for file in files:
            self.say("on disk", f"{file['path']} ({file['bytes']:,} bytes, {file['kind']})")
        return {"status": "OK", "skill": str(wrapper.parents[1]), "files": files, "call": outcome}

    def _falq(self, *arguments: str, check: bool = True) -> Any:
        return self._run([sys.executable, "-m", "falq", *arguments], check=check)

    def _run(self, command: list[str], *, check: bool = True) -> Any:
        """Run a program of ours; its talk is ours, its data is given back."""
        ended = subprocess.run(
            command, env=self.env, stdout=subprocess.PIPE, stderr=self._talk(), text=True,
            stdin=subprocess.DEVNULL, timeout=STEP_S, check=False,
        )  # fmt: skip
        shown = _last_json(ended.stdout)
        if ended.returncode and check:
            error = shown.get("error") if isinstance(shown, dict) else None
            if isinstance(error, dict):
                raise FalqError.from_dict(error)
            raise UnreachableError(f"{' '.join(command[1:4])} ended with {ended.returncode}")
        return shown

    def _talk(self) -> int | None:
        return subprocess.DEVNULL if self._voice.quiet else None


def _last_json(text: str) -> Any:
    for line in reversed(text.strip().splitlines()):
        try:
            return json.loads(line)
        except ValueError:
            continue
    return {}


def check_files(outcome: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Look at the files themselves: there, the right bytes, and really pictures.

    Raises:
        UnreachableError: One of them is not what the outcome says.
    """
    from PIL import Image

    files = []
    for file in outcome.get("files", []):
        path = Path(file["path"])
        if hashlib.sha256(path.read_bytes()).hexdigest() != file["sha256"]:
            raise UnreachableError(f"{path} is not the file that was announced")
        with Image.open(path) as picture:
            picture.load()
            kind = f"{picture.format} {picture.width}x{picture.height}"
        files.append({"path": str(path), "bytes": path.stat().st_size, "kind": kind})
    if not files:
        raise UnreachableError("the wrapper left no file")
    return files
