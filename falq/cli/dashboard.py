"""``falq dashboard``: rq-dashboard and falq's own page in one web app."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import click

from falq.cli.show import Voice, emit
from falq.errors import ConfigurationError, UsageError

_THREADS = 8
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  # a name to know, not one to bind to
#: A token that can be guessed is none.
_MIN_TOKEN_CHARS = 16


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=9181, show_default=True, metavar="N",
    help="0 takes a free one.",
)  # fmt: skip
@click.option(
    "--token-file", type=click.Path(path_type=Path), metavar="FILE",
    help="Ask for the token in this file, on loopback too.",
)  # fmt: skip
@click.option("--allow-host", multiple=True, metavar="NAME", help="A further name of this host.")
@click.option("-q", "--quiet", is_flag=True, help="No talk.")
def dashboard(
    host: str, port: int, token_file: Path | None, allow_host: tuple[str, ...], quiet: bool
) -> None:
    """Serve the dashboard until Ctrl-C.

    On loopback it is open to this machine; anywhere else it asks for a token, which is
    printed once or read from --token-file.
    """
    # Before what takes long to import: a process manager may end us at any time.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from falq.dashboard.app import create_app
    from falq.dashboard.guard import Guard
    from falq.settings import Settings, is_loopback

    settings = Settings.from_env(os.environ)
    token = _read_token(token_file) if token_file is not None else None
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
    guard = Guard(host=host, token=token, names=(socket.gethostname(), *allow_host))
    listener = _listen(host, port)
    bound = listener.getsockname()[1]
    shown = socket.gethostname() if host in _EVERYWHERE else f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{bound}/"
    emit({"status": "SERVING", "url": url})
    _introduce(Voice(quiet=quiet), url, token if token_file is None else None)
    _serve(create_app(settings, guard), listener)


def _read_token(path: Path) -> str:
    try:
        token = path.read_text().strip()
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"--token-file {path} cannot be read: {error}") from error
    if mode & 0o077:
        raise ConfigurationError(f"--token-file {path} is open to others", f"chmod 600 {path}")
    if len(token) < _MIN_TOKEN_CHARS or not token.isascii():
        raise ConfigurationError(
            f"--token-file {path} holds {len(token)} characters: expected {_MIN_TOKEN_CHARS}+",
            "for example: openssl rand -hex 24",
        )
    return token


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error.strerror
        raise UsageError(
            f"the dashboard cannot listen on {host}:{port}: {reason}",
            "choose another --port; --port 0 takes a free one",
        ) from error


def _introduce(voice: Voice, url: str, token: str | None) -> None:
    if token is None:
        voice.say(f"falq dashboard: {url}   (RQ: {url}rq/, metrics: {url}metrics)")
        return
    # Not talk: without it nobody gets in, quiet or not.
    print(f"falq dashboard: {url}?token={token}", file=sys.stderr, flush=True)  # noqa: T201
    voice.say("the token is shown once; scripts send it as Authorization: Bearer TOKEN")


def _serve(app: Any, listener: socket.socket) -> None:
    import waitress

    server = waitress.create_server(app, sockets=[listener], threads=_THREADS, ident=None)
    try:
        server.run()
    except (KeyboardInterrupt, SystemExit):
        server.close()
