"""``falq redis``: the embedded server as a foreground process, for process managers."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import click

from falq.cli.show import Voice, emit

if TYPE_CHECKING:
    from falq.settings import Settings

#: Process managers send the end to all at once: workers get this long to finish with it, seconds.
_LAST_USERS_S = 660.0
_LOOK_S = 0.2


@click.command()
@click.option("-q", "--quiet", is_flag=True, help="No talk.")
def redis(quiet: bool) -> None:
    """Keep the embedded Redis running until SIGTERM or Ctrl-C, for a process manager.

    With FALQ_REDIS_URL set it starts nothing and only waits with the others.
    """
    from falq.embedded import ensure_server
    from falq.home import ensure_home
    from falq.settings import Settings

    settings = Settings.from_env(os.environ)
    voice = Voice(quiet=quiet)
    ended = _ending()
    if settings.embedded:
        url = ensure_server(ensure_home(settings.home))
        emit({"status": "SERVING", "url": url})
        voice.say("the embedded server runs; Ctrl-C stops it when nobody uses it any more")
    else:
        voice.say("FALQ_REDIS_URL is set: that Redis is used, none is started")
    ended.wait()
    if settings.embedded:
        _stop(settings, voice)


def _ending() -> threading.Event:
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    return ended


def _stop(settings: Settings, voice: Voice) -> None:
    """Stop the server when its last user has gone; one that is used stays for its users."""
    from falq.embedded import find_server, stop_server

    give_up_at = time.monotonic() + _LAST_USERS_S
    while time.monotonic() < give_up_at and find_server(settings.home) is not None:
        if stop_server(settings.home, only_if_unused=True):
            return
        time.sleep(_LOOK_S)
    voice.say("the embedded server is still used and stays: falq down stops it")
