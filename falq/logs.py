"""Logging of a worker: one line per event of a job, as text or JSON, never a secret.

Nobody logs arguments, keys or replies; what reaches a line is checked once more here.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

#: Fields that a record may carry beside its message.
FIELDS = ("job_id", "request_id", "queue", "model_id", "phase", "event")
_SECRET = re.compile(
    r"(?i)\b(key|bearer)\s+\S+"
    r"|\bFAL_KEY\w*\s*=\s*\S+"
    r"|data:[\w/+.-]+(?:;[\w=.+-]+)*,[^\s\"']+"
    r"|://[^/\s:@]*:[^/\s@]+@"
)


def redact(text: str) -> str:
    """Take out what looks like a key, a password in an address, or a data: URI.

    >>> redact("Authorization: Key abc:def at redis://u:pw@h/0")
    'Authorization: [redacted] at redis[redacted]h/0'
    """
    # One of these stands in whatever the pattern finds, and looking for them is much cheaper.
    lowered = text.lower()
    if not ("key" in lowered or "bearer" in lowered or "data:" in lowered or "://" in lowered):
        return text
    return _SECRET.sub("[redacted]", text)


class EventFormatter(logging.Formatter):
    """Writes a record as one line.

    Args:
        form: ``text`` for people, ``json`` for collectors.
        secrets: Texts that no line may hold, whatever wrote them.
    """

    def __init__(self, form: Literal["text", "json"], secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._json = form == "json"
        self._secrets = sorted(filter(None, secrets), key=len, reverse=True)
        #: Each line of a job names its fields again, and most messages are a word.
        self._clean_known = lru_cache(maxsize=4096)(self._clean)

    def format(self, record: logging.LogRecord) -> str:
        """Give the line of a record; a traceback goes into the same line."""
        message = self._clean_known(record.getMessage())
        if record.exc_info:
            message += " | " + self._clean(self.formatException(record.exc_info))
        carried = record.__dict__
        fields = {
            name: self._clean_known(str(carried[name]))
            for name in FIELDS
            if carried.get(name) is not None
        }
        stamp = f"{_second(int(record.created))}.{int(record.msecs):03d}Z"
        if self._json:
            shown = {"at": stamp, "level": record.levelname.lower(), "logger": record.name}
            return json.dumps(shown | {"message": message} | fields, ensure_ascii=False)
        extra = "".join(f" {name}={value}" for name, value in fields.items())
        return f"{stamp} {record.levelname.lower():7} {message}{extra}"

    def _clean(self, text: str) -> str:
        """Take secrets out, and what would make two lines of one or steer a terminal."""
        for secret in self._secrets:
            text = text.replace(secret, "[redacted]")
        text = redact(text)
        if text.isprintable():
            return text
        text = text.replace("\n", " | ")
        return "".join(char if char.isprintable() else " " for char in text)


@lru_cache(maxsize=16)
def _second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


def configure_logging(form: str, secrets: Iterable[str] = (), level: int = logging.INFO) -> None:
    """Send falq's and RQ's log lines to stderr in one form; called by a composition root."""
    # Nothing of this stands in a line; it is half of what a record takes ("Optimization" in the
    # manual of the module).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EventFormatter("json" if form == "json" else "text", secrets))
    for name in ("falq", "rq"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
