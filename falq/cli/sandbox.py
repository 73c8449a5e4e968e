"""``falq sandbox``: a local fal in the foreground."""

from __future__ import annotations

import os

import click

from falq.cli.call_options import NumberRange
from falq.cli.show import Voice, emit
from falq.errors import UsageError

#: Where a sandbox listens unless it is told otherwise: an address to remember.
PORT = 8765


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, metavar="N",
    help="Port on loopback; 0 takes a free one.",
)  # fmt: skip
@click.option(
    "--latency", type=NumberRange(0, 86_400), default=0.0, show_default=True, metavar="S",
    help="Seconds that each request runs.",
)  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="No talk.")
def sandbox(port: int, latency: float, quiet: bool) -> None:
    """Serve a local fal until Ctrl-C: the same protocol, no key, no cost."""
    from falq.sandbox import serve

    voice = Voice(quiet=quiet)

    def ready(url: str) -> None:
        emit({"status": "SERVING", "url": url})
        _introduce(voice, url)

    try:
        serve(port=port, latency=latency, ready=ready)
    except OSError as error:
        raise UsageError(
            f"the sandbox cannot listen on 127.0.0.1:{port}: {os.strerror(error.errno or 0)}",
            "choose another --port; --port 0 takes a free one",
        ) from error


def _introduce(voice: Voice, url: str) -> None:
    voice.say(f"falq sandbox: a stand-in on this machine, not fal.ai; no key, no cost  {url}")
    voice.say("use it from another shell:")
    voice.say(f"  export FALQ_FAL_URL={url}")
    voice.say('  falq call -m fal-ai/flux/schnell -a \'{"prompt": "a cat in a garden"}\'')
    voice.say("Ctrl-C ends it; its requests and files end with it")
