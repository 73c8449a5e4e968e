"""A real headless Chromium, driven by its own DevTools protocol."""

import asyncio
import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

#: Quiet and alone: no profile of anybody's, no look at the network of its own.
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic", "--no-first-run",
    "--disable-dev-shm-usage", "--remote-debugging-port=0",
)  # fmt: skip
START_S = 30.0


def chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


@dataclass
class Page:
    """One tab; ``told`` holds what its console and its policy said."""

    socket: aiohttp.ClientWebSocketResponse
    session: str = ""
    told: list[str] = field(default_factory=list)
    sent: int = 0

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self.sent += 1
        message: dict[str, Any] = {"id": self.sent, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        await self.socket.send_json(message)
        while True:
            answer = json.loads((await self.socket.receive(timeout=20)).data)
            if answer.get("id") == self.sent:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        if event["method"] == "Log.entryAdded":
            entry = event["params"]["entry"]
            self.told.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}")
        elif event["method"] == "Runtime.exceptionThrown":
            self.told.append(json.dumps(event["params"]["exceptionDetails"]))

    async def open(self, url: str, width: int = 1200, height: int = 900) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self.send("Emulation.setDeviceMetricsOverride", **metrics)
        await self.send("Page.navigate", url=url)

    async def ask(self, expression: str) -> Any:
        """Give the value of a JavaScript expression in the page."""
        answer = await self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, expression: str, wait_s: float = 20.0) -> Any:
        """Wait for an expression to become true."""
        give_up_at = time.monotonic() + wait_s
        safe = f"(() => {{ try {{ return {expression} }} catch {{ return null }} }})()"
        while not (value := await self.ask(safe)):
            assert time.monotonic() < give_up_at, (expression, self.told)
            await asyncio.sleep(0.1)
        return value

    async def screenshot(self, path: Path) -> None:
        shot = await self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextlib.asynccontextmanager
async def browsing(profile: Path) -> AsyncIterator[Page]:
    """Start a Chromium with a profile of its own and give a tab."""
    program = chromium()
    assert program is not None
    process = subprocess.Popen(
        [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "LANG": "C"},
    )  # fmt: skip
    try:
        address = await _address(profile / "DevToolsActivePort")
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(address, max_msg_size=0) as socket,
        ):
            page = Page(socket)
            target = await page.send("Target.createTarget", url="about:blank")
            attached = await page.send(
                "Target.attachToTarget", targetId=target["targetId"], flatten=True
            )
            page.session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log"):
                await page.send(f"{domain}.enable")
            yield page
    finally:
        process.terminate()
        process.wait(timeout=20)


async def _address(path: Path) -> str:
    give_up_at = time.monotonic() + START_S
    while time.monotonic() < give_up_at:
        lines = path.read_text().split() if path.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        await asyncio.sleep(0.05)
    raise AssertionError("Chromium did not start")
