"""A few words with a server on a unix socket in the plain protocol.

Importing a client library takes longer than starting the server.
"""

from __future__ import annotations

import socket
from pathlib import Path

REPLY_WAIT_S = 2.0


def answers(path: Path) -> bool:
    """Tell whether a server serves there; any reply but "still loading" says so."""
    reply = ask(path, b"PING")
    return reply is not None and not reply.startswith(b"-LOADING")


def server_info(path: Path) -> dict[str, str]:
    """Give what INFO says; empty if nobody answers."""
    reply = ask(path, b"INFO") or b""
    pairs = (line.split(":", 1) for line in reply.decode(errors="replace").splitlines())
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}


def ask(path: Path, command: bytes) -> bytes | None:
    """Send one command and give its raw reply; None if nobody is there or hangs up."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(REPLY_WAIT_S)
        try:
            line.connect(str(path))
            line.sendall(command + b"\r\n")
            return _read_reply(line)
        except OSError:
            return None


def _read_reply(line: socket.socket) -> bytes | None:
    reply = b""
    while not _is_whole(reply):
        chunk = line.recv(65536)
        if not chunk:
            return None
        reply += chunk
    return reply


def _is_whole(reply: bytes) -> bool:
    head, end, rest = reply.partition(b"\r\n")
    return bool(end) and (not head.startswith(b"$") or len(rest) >= int(head[1:]) + 2)
