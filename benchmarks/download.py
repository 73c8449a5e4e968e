"""A 100 MiB download by falq against curl, from one server, in turn, on one machine.

Usage: python benchmarks/download.py [--runs N] [--directory DIR]

The server is a process of its own that sends a file with sendfile(2) from memory. curl
writes the same directory (default /dev/shm where it exists) as falq does; falq also hashes,
checks, syncs and renames. curl is timed from process start to end, as a shell would.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Self

from falq.files.artifacts import Artifact
from falq.files.download import Downloader
from falq.files.names import NamePlan
from falq.files.output import OutputDirectory
from falq.files.policy import MediaPolicy

SIZE_BYTES = 100 * 1024 * 1024
HEAD = (
    f"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: {SIZE_BYTES}\r\n\r\n".encode()
)


def serve(listener: socket.socket, path: str) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection, path), daemon=True).start()


def answer(connection: socket.socket, path: str) -> None:
    with connection, Path(path).open("rb") as body:
        seen = b""
        while chunk := connection.recv(65536):
            seen += chunk
            if not seen.endswith(b"\r\n\r\n"):
                continue
            seen = b""
            connection.sendall(HEAD)
            body.seek(0)
            connection.sendfile(body)


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class PeakRss:
    """Samples the process's memory every few milliseconds."""

    def __init__(self) -> None:
        self.base = self.peak = rss_bytes()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        while not self._over.wait(0.003):
            self.peak = max(self.peak, rss_bytes())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def extra_mb(self) -> float:
        return (self.peak - self.base) / 1e6


def run_curl(url: str, directory: str) -> float:
    target = Path(directory) / "curl.mp4"
    started = time.perf_counter()
    subprocess.run(["curl", "-sS", "-o", str(target), url], check=True)
    took = time.perf_counter() - started
    if target.stat().st_size != SIZE_BYTES:
        raise SystemExit("curl got something else")
    target.unlink()
    return took


async def run_falq(downloader: Downloader, url: str, directory: str) -> float:
    with OutputDirectory.open(directory) as into:
        started = time.perf_counter()
        saved = await downloader.fetch(
            Artifact(url=url, field="video"),
            into,
            NamePlan(stem="falq"),
            label="test",
            deadline_s=60,
        )
        took = time.perf_counter() - started
    if saved.bytes != SIZE_BYTES:
        raise SystemExit("falq got something else")
    os.unlink(saved.path)  # noqa: PTH108  # memory-backed: it does not block
    return took


async def measure(url: str, directory: str, runs: int) -> dict[str, float]:
    origin = url.rpartition("/")[0]
    times: dict[str, list[float]] = {"curl": [], "falq": []}
    async with Downloader(MediaPolicy(allowed_origin=origin)) as downloader:
        # Memory first and by itself: the sampler would take its time from the clocked runs.
        with PeakRss() as memory:
            await run_falq(downloader, url, directory)
        for _ in range(runs):
            times["curl"].append(run_curl(url, directory))
            times["falq"].append(await run_falq(downloader, url, directory))
    curl, falq = (statistics.median(times[name]) for name in ("curl", "falq"))
    return {
        "runs": runs,
        "curl_s": round(curl, 4),
        "falq_s": round(falq, 4),
        "speed_ratio": round(curl / falq, 3),
        "extra_rss_mb": round(memory.extra_mb, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--directory", default="/dev/shm" if Path("/dev/shm").is_dir() else None)
    parser.add_argument("--require", action="store_true", help="exit 1 when a goal is missed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        body = Path(directory) / "body"
        body.write_bytes(b"\0\0\0\x20ftypisom" + os.urandom(1 << 20) * 100)
        os.truncate(body, SIZE_BYTES)
        listener = socket.create_server(("127.0.0.1", 0))
        server = multiprocessing.Process(target=serve, args=(listener, str(body)), daemon=True)
        server.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/a.mp4"
        try:
            found = asyncio.run(measure(url, directory, options.runs))
        finally:
            server.terminate()
            server.join()
    print(json.dumps({"benchmark": "download of 100 MiB", **found}))
    print("goal: speed_ratio >= 0.8, extra_rss_mb < 20", file=sys.stderr)
    missed = found["speed_ratio"] < 0.8 or found["extra_rss_mb"] >= 20
    return int(options.require and missed)


if __name__ == "__main__":
    raise SystemExit(main())
