"""The sandbox as a process and as an object on somebody else's loop."""

import signal
import socket
import subprocess
import sys

import httpx
import pytest

from falq.sandbox import Sandbox, running_sandbox, serve

CODE = "from falq.sandbox import serve; serve(port=0, ready=lambda url: print(url, flush=True))"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_announces_its_origin_and_ends_cleanly_on_a_signal(number):
    with subprocess.Popen([sys.executable, "-W", "error", "-c", CODE], stdout=-1, stderr=-1) as it:
        url = it.stdout.readline().decode().strip()
        assert httpx.get(url).json()["name"] == "falq sandbox"
        it.send_signal(number)
        out, err = it.communicate(timeout=10)
    assert (it.returncode, out, err) == (0, b"", b"")


def test_a_taken_port_is_an_os_error():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(OSError):
            serve(port=port)
        with pytest.raises(OSError), running_sandbox(port=port):
            pass


async def test_a_sandbox_runs_on_the_callers_loop():
    sandbox = Sandbox()
    url = await sandbox.start()
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{url}/v1/meta")).status_code == 200
    await sandbox.stop()
