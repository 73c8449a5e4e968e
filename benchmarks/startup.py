"""How fast a command and a generated wrapper answer ``--help``: against ``import click`` alone.

Usage: python benchmarks/startup.py [--runs N]

All three start a Python process; they take turns, so that noise of the machine hits them alike.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from falq.sandbox import running_sandbox

MODEL_ID = "sandbox/flux/dev"
GOAL = 2.5


def generate(directory: str) -> str:
    """Generate a skill in a directory, and give its wrapper's path."""
    with running_sandbox() as sandbox:
        env = dict(os.environ) | {"FALQ_FAL_URL": sandbox.url, "FALQ_HOME": f"{directory}/home"}
        command = [sys.executable, "-m", "falq", "generate", "-m", MODEL_ID, "-o", directory]
        subprocess.run(command, env=env, check=True, capture_output=True)
    return str(next(Path(directory).glob("sandbox-flux-dev/scripts/sandbox_flux_dev.py")))


def seconds(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as directory:
        contenders = {
            "import click": [sys.executable, "-c", "import click"],
            "falq --help": [sys.executable, "-m", "falq", "--help"],
            "wrapper --help": [sys.executable, generate(directory), "--help"],
        }
        taken: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(runs):
            for name, command in contenders.items():
                taken[name].append(seconds(command))
    medians = {name: statistics.median(each) for name, each in taken.items()}
    for name, median in medians.items():
        ratio = median / medians["import click"]
        print(f"{name:15} {median * 1000:6.1f} ms   {ratio:.2f} x (goal <= {GOAL})")


if __name__ == "__main__":
    main()
