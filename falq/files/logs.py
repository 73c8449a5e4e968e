"""A model's log lines as the text of a file. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

#: Escape sequences would act on the terminal of whoever looks at the file.
_CONTROL = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)


def render_logs(lines: Iterable[Mapping[str, Any]]) -> str:
    r"""Give one line for each log line of fal, in their order.

    The same time and message twice is one line: fal repeats what it has sent before
    (fal-api.md §2.3).

    >>> line = {"timestamp": "2025-01-01T00:00:00Z", "level": "INFO", "message": "step 1"}
    >>> render_logs([line, line])
    '2025-01-01T00:00:00Z INFO step 1\n'
    """
    seen = dict.fromkeys(_rendered(line) for line in lines)
    return "".join(f"{line}\n" for line in seen)


def _rendered(line: Mapping[str, Any]) -> str:
    parts = (line.get("timestamp"), line.get("level"), line.get("message"))
    text = " ".join(str(part) for part in parts if part not in (None, ""))
    return _CONTROL.sub("", text.rstrip().replace("\n", "\n    "))
