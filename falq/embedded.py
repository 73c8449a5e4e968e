"""The embedded server: one private Redis per home, for those who have none.

Started by whoever comes first and left running; it listens on a unix socket only and
forces every write to the disk before it answers, because its data are the journal of paid
calls. The server inherits the lock ``server.lock`` and keeps it for as long as it lives: two
servers never open the same data, whatever was killed in between.
"""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from falq.errors import ConfigurationError, RedisUnavailableError
from falq.file_lock import FileLock, is_held
from falq.home import ensure_home, private_subdirectory, redis_directory
from falq.server_socket import answers, ask, server_info

if TYPE_CHECKING:
    from falq.server_binary import ServerBinary

#: Linux allows 107 bytes and macOS 103 for the path of a socket.
MAX_SOCKET_PATH_BYTES = 99
#: Enough for a few thousand journal entries; below it a start would only fail later.
MIN_FREE_BYTES = 16 * 1024 * 1024
MAX_LOG_BYTES = 1024 * 1024
START_WAIT_S = 20.0
STOP_WAIT_S = 10.0
KILL_WAIT_S = 3.0
MAX_SAID_CHARS = 160
PAUSE_S = 0.002


@dataclass(frozen=True)
class ServerState:
    """A running embedded server, in its own words."""

    pid: int
    url: str
    socket: Path
    product: str
    version: str
    clients: int


@dataclass(frozen=True)
class _Place:
    """The directory of one server and the names in it."""

    directory: Path
    socket: Path

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self.socket))}"

    @property
    def start_lock(self) -> Path:
        return self.directory / "start.lock"

    @property
    def server_lock(self) -> Path:
        return self.directory / "server.lock"

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    @property
    def pid_file(self) -> Path:
        return self.directory / "server.pid"

    @property
    def version_file(self) -> Path:
        return self.directory / "version.json"

    @property
    def has_data(self) -> bool:
        return any((self.directory / name).exists() for name in ("appendonlydir", "appendonly.aof"))


def ensure_server(home: Path, *, wait_s: float = START_WAIT_S) -> str:
    """Give the address of the home's server, starting it if none runs.

    Safe to call from any number of processes at once. Data survive a killed server.

    Returns:
        A ``unix://`` URL.

    Raises:
        ConfigurationError: The home cannot be used, no server program is installed, or it is
            older than the one that wrote the data.
        RedisUnavailableError: It did not answer in time, or the disk is full.
    """
    place = _place(redis_directory(ensure_home(home)))
    if answers(place.socket):
        return place.url
    give_up_at = time.monotonic() + wait_s
    with FileLock(place.start_lock) as starter:
        if not starter.acquire(wait_s):
            raise RedisUnavailableError(f"another process starts a server in {place.directory}")
        _await_answer(place, give_up_at)
    return place.url


def revive_server(home: Path) -> None:
    """Start the home's server again if it was killed; one that was stopped stays down.

    Raises:
        ConfigurationError, RedisUnavailableError: As ``ensure_server``.
    """
    place = _existing_place(home)
    # A server that ends by itself takes its pid file along.
    if place is not None and place.pid_file.exists():
        ensure_server(home)


def find_server(home: Path) -> ServerState | None:
    """Look for the home's server without starting or creating anything."""
    place = _existing_place(home)
    if place is None:
        return None
    info = server_info(place.socket)
    if "process_id" not in info:
        return None
    version = info.get("valkey_version")
    return ServerState(
        pid=int(info["process_id"]),
        url=place.url,
        socket=place.socket,
        product="valkey" if version else "redis",
        version=version or info.get("redis_version", ""),
        clients=int(info.get("connected_clients", "1")) - 1,
    )


def stop_server(home: Path, *, only_if_unused: bool = False) -> bool:
    """Stop the home's server and wait for its end; data stay on the disk.

    Args:
        home: The state directory.
        only_if_unused: Leave it running while anybody else is connected; for a worker that
            ends itself after idle minutes (it closes its own connections first).

    Returns:
        Whether a server was running and has ended.

    Raises:
        RedisUnavailableError: It did not end.
    """
    place = _existing_place(home)
    if place is None:
        return False
    with FileLock(place.start_lock) as starter:
        if not starter.acquire(START_WAIT_S):
            raise RedisUnavailableError(f"another process starts a server in {place.directory}")
        if not is_held(place.server_lock):
            return False
        state = find_server(home)
        if only_if_unused and (state is None or state.clients > 0):
            return False
        _end(place)
    return True


def _place(directory: Path) -> _Place:
    path = directory / "redis.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        return _Place(directory, path)
    return _Place(directory, _short_directory(directory) / "redis.sock")


def _existing_place(home: Path) -> _Place | None:
    if not os.path.lexists(home):
        return None
    home = ensure_home(home)
    return _place(redis_directory(home)) if (home / "redis").is_dir() else None


def _short_directory(directory: Path) -> Path:
    """Give a private directory with a short name; always the same for one home."""
    import hashlib

    name = f"falq-{os.geteuid()}-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]}"
    return private_subdirectory(_temporary_root(), name)


def _temporary_root() -> Path:
    """Prefer the fixed name: TMPDIR differs between shells, and would hide the socket."""
    import tempfile

    fixed = Path("/tmp")  # noqa: S108  # only a private, owner-checked directory is made in it
    return fixed if os.access(fixed, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())


def _await_answer(place: _Place, give_up_at: float) -> None:
    """Wait for a reply, launching at most once and only while no server lives.

    One that loads its data or is about to end holds the lock: then waiting is all to do.
    """
    launched = False
    while not answers(place.socket):
        if not is_held(place.server_lock):
            if launched:
                raise _no_server(place, "ended while it started")
            _start(place)
            launched = True
        if time.monotonic() >= give_up_at:
            raise _no_server(place, "does not answer")
        time.sleep(PAUSE_S)


def _no_server(place: _Place, what: str) -> RedisUnavailableError:
    return RedisUnavailableError(
        f"the embedded server {what}{_last_words(place)}", f"its log is {place.log}"
    )


def _start(place: _Place) -> None:
    with FileLock(place.server_lock) as lock:
        if lock.acquire():
            try:
                _check_room(place)
                binary = _checked_binary(place)
                _clear(place)
                _launch(binary.path, place, lock.fd)
            except OSError as err:
                raise RedisUnavailableError(
                    f"the embedded server cannot be started: {err}",
                    f"check the disk and the rights of {place.directory}",
                ) from err


def _check_room(place: _Place) -> None:
    room = os.statvfs(place.directory)
    if room.f_bavail * room.f_frsize < MIN_FREE_BYTES:
        raise RedisUnavailableError(
            f"the disk of {place.directory} is full: a server needs {MIN_FREE_BYTES >> 20} MiB",
            "free some space or set FALQ_HOME to another disk",
        )


def find_program(home: Path) -> ServerBinary:
    """Find the program that would serve the home; starts and writes nothing.

    Raises:
        ConfigurationError: None is installed, or one older than the home's data.
    """
    from falq.server_binary import find_binary

    place = _existing_place(home)
    return find_binary() if place is None else _fitting_binary(place)[0]


def _fitting_binary(place: _Place) -> tuple[ServerBinary, ServerBinary | None]:
    """Give the program to start and the one that wrote the data."""
    from falq.server_binary import ServerBinary, find_binary

    record = place.version_file.read_text() if place.version_file.exists() else ""
    writer = ServerBinary.from_json(record)
    binary = find_binary(writer)
    if writer is not None and place.has_data and not binary.may_open_data_of(writer):
        raise ConfigurationError(
            f"{place.directory} was written by {writer}, {binary.path} is {binary}: "
            "it would start without your jobs",
            f"install {writer} or newer, or set FALQ_HOME to another directory",
        )
    return binary, writer


def _checked_binary(place: _Place) -> ServerBinary:
    binary, writer = _fitting_binary(place)
    if binary != writer:
        _replace(place.version_file, binary.to_json())
    return binary


def _replace(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


def _clear(place: _Place) -> None:
    """Take away what a killed server left; its lock is ours, so it is dead."""
    place.pid_file.unlink(missing_ok=True)
    if place.log.exists() and place.log.stat().st_size > MAX_LOG_BYTES:
        place.log.replace(place.log.with_suffix(".log.1"))
    try:
        found = place.socket.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        raise ConfigurationError(
            f"{place.socket} is no socket of ours", "move it away; falq does not remove it"
        )
    place.socket.unlink()


def _launch(program: str, place: _Place, lock_fd: int) -> None:
    """Start the server as a daemon; it takes no key with it and keeps nothing of ours open."""
    import subprocess

    try:
        subprocess.run(
            [program, *_options(place)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.defpath},
            cwd=place.directory,
            pass_fds=(lock_fd,),
            start_new_session=True,
            umask=0o077,
            timeout=START_WAIT_S,
            check=True,
        )
    except subprocess.SubprocessError as err:
        raise _no_server(place, f"could not be started by {program}") from err


def _options(place: _Place) -> Iterator[str]:
    options = {
        "port": "0",
        "unixsocket": str(place.socket),
        "unixsocketperm": "700",
        "dir": str(place.directory),
        "daemonize": "yes",
        "pidfile": str(place.pid_file),
        "logfile": str(place.log),
        "save": "",
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
    }
    for name, value in options.items():
        yield f"--{name}"
        yield value


def _last_words(place: _Place) -> str:
    """Give the last line of the server's log for a message, as far as there is one."""
    if not place.log.exists():
        return ""
    lines = place.log.read_text(errors="replace")[-4096:].splitlines()
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f": {said[-MAX_SAID_CHARS:]}" if said else ""


def _end(place: _Place) -> None:
    # No SAVE: the log of writes is complete on the disk, and a dump would need room for all.
    ask(place.socket, b"SHUTDOWN")
    if _wait_until(lambda: not is_held(place.server_lock), STOP_WAIT_S):
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal(place, number)
        if _wait_until(lambda: not is_held(place.server_lock), KILL_WAIT_S):
            return
    raise RedisUnavailableError(f"the embedded server of {place.directory} does not end")


def _signal(place: _Place, number: signal.Signals) -> None:
    """Signal by the pid that the server wrote, if that process still works in our directory."""
    try:
        pid = int(place.pid_file.read_text())
        workplace = Path(f"/proc/{pid}/cwd")
        if workplace.exists() and workplace.resolve() != place.directory:
            raise ProcessLookupError(f"process {pid} is another one")
        os.kill(pid, number)
    except (OSError, ValueError) as err:
        raise RedisUnavailableError(
            f"the embedded server of {place.directory} does not answer and cannot be ended: {err}"
        ) from err


def _wait_until(done: Callable[[], bool], wait_s: float) -> bool:
    give_up_at = time.monotonic() + wait_s
    while not done():
        if time.monotonic() >= give_up_at:
            return False
        time.sleep(PAUSE_S)
    return True
