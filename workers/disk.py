"""Room on the disk of a worker's home: without it, a paid call might not be brought home."""

from __future__ import annotations

import logging
import os
from pathlib import Path

log = logging.getLogger("falq.worker")

#: No job is claimed while less is free.
RESERVE_BYTES = 200 * 1024 * 1024
#: On a small disk, this part of it.
_PART = 20


class DiskReserve:
    """Looks whether a file system has room.

    Args:
        path: A directory on it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._short = False

    def is_short(self) -> bool:
        """Tell whether too little is free; a change is logged once."""
        try:
            found = os.statvfs(self._path)
        except OSError:
            return False
        free = found.f_bavail * found.f_frsize
        reserve = min(RESERVE_BYTES, found.f_blocks * found.f_frsize // _PART)
        short = free < reserve
        if short and not self._short:
            message = "disk full at %s: %d MiB free, no job is claimed below %d MiB"
            log.warning(message, self._path, free >> 20, reserve >> 20)
        elif self._short and not short:
            log.info("there is room again at %s: claiming jobs", self._path)
        self._short = short
        return short
