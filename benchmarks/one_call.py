"""One call, process start to file on disk: falq with a warm worker against the shortest script.

Usage: python benchmarks/one_call.py [--runs N]

Both call the same sandbox at latency 0, in turn. The script is ``fal_client.subscribe`` and a
write; its hosts are mapped to the sandbox on httpx's transport, which costs it well under a
millisecond. falq's call goes through Redis, limits, journal, worker, checks and sidecar.
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

MODEL_ID = "sandbox/flux/schnell"
SCRIPT = """
import os, sys, httpx
origin = httpx.URL(os.environ["SANDBOX"])
prefixes = {"queue.fal.run": "/queue", "fal.run": "/run"}
send = httpx.HTTPTransport.handle_request
def mapped(self, request):
    prefix = prefixes.get(request.url.host)
    if prefix:
        request.url = origin.copy_with(raw_path=prefix.encode() + request.url.raw_path)
        request.headers["Host"] = f"{origin.host}:{origin.port}"
    return send(self, request)
httpx.HTTPTransport.handle_request = mapped
import fal_client
result = fal_client.subscribe(sys.argv[1], arguments={"prompt": sys.argv[2]})
with open(sys.argv[3], "wb") as file:
    file.write(httpx.get(result["images"][0]["url"]).content)
"""


def seconds(command: list[str], env: dict[str, str], directory: str) -> float:
    begun = time.perf_counter()
    subprocess.run(command, env=env, cwd=directory, check=True, capture_output=True)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=11)
    runs = parser.parse_args().runs
    with running_sandbox() as fal, tempfile.TemporaryDirectory() as directory:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("FAL_", "FALQ_"))}
        env |= {
            "SANDBOX": fal.url, "FAL_KEY": "sandbox:sandbox", "FALQ_FAL_URL": fal.url,
            "FALQ_HOME": f"{directory}/home", "FAL_QUEUE_START_INTERVAL": "0",
            "FAL_QUEUE_RATE_PER_MIN": "100000", "FAL_QUEUE_BURST": "1000",
        }  # fmt: skip
        script = Path(directory) / "shortest.py"
        script.write_text(SCRIPT)
        falq = [sys.executable, "-m", "falq"]
        subprocess.run([*falq, "up", "-q"], env=env, check=True, capture_output=True)
        try:
            measure(runs, falq, str(script), env, directory)
        finally:
            subprocess.run([*falq, "down", "-q"], env=env, check=True, capture_output=True)


def measure(runs: int, falq: list[str], script: str, env: dict[str, str], directory: str) -> None:
    theirs, ours = {"queue": []}, {"sync": [], "queue": []}
    for run in range(runs + 1):
        image = f"{directory}/{run}.png"
        command = [sys.executable, script, MODEL_ID, f"boat {run}", image]
        theirs["queue"].append(seconds(command, env, directory))
        for mode, flag in (("sync", "--sync-only"), ("queue", "--no-sync-only")):
            arguments = f'{{"prompt": "{mode} boat {run}"}}'
            command = [*falq, "call", "-m", MODEL_ID, "-a", arguments, "-q", flag, "-o", directory]
            ours[mode].append(seconds(command, env, directory))
    base = statistics.median(theirs["queue"][1:])
    print(f"fal_client subscribe + save    {base * 1000:6.0f} ms  (baseline, median of {runs})")
    for mode, times in ours.items():
        ratios = [a / b for a, b in zip(times[1:], theirs["queue"][1:], strict=True)]
        print(
            f"falq call, {mode:5} mode         {statistics.median(times[1:]) * 1000:6.0f} ms  "
            f"ratio {statistics.median(ratios):.2f}  (goal <= 1.0)"
        )


if __name__ == "__main__":
    main()
