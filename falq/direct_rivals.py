"""Whose a request of fal's history is, for a direct call: it is not in Redis as jobs are.

The direct calls of one home keep apart by notes in it. Jobs of the queue are asked about where
Redis answers. Two homes without a Redis in common cannot see each other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

from redis import Redis

from falq.daily_notes import DailyNotes
from falq.errors import ConfigurationError, RedisUnavailableError
from falq.journal import Journal
from falq.keeping import kept_records
from falq.phases import Phase
from falq.record import JobRecord
from falq.redis_link import connect, translate_redis_errors
from falq.rivals import awaited_alike
from falq.settings import Settings

_T = TypeVar("_T")


class DirectRivals:
    """The other calls beside one direct call.

    Args:
        settings: The home, and where Redis is.
        job_id: Of the call.
        beside_queue: Redis is worth asking; False where it is known to be away.
    """

    def __init__(self, settings: Settings, job_id: str, *, beside_queue: bool) -> None:
        self._settings = settings
        self._job_id = job_id
        self._claims = DailyNotes(settings.home, "claims")
        self._beside_queue = beside_queue

    def claim(self, request_id: str) -> bool:
        """Claim a request for the call; False if it is another's. Safe to repeat."""
        with contextlib.suppress(OSError, ConfigurationError):
            if not self._claims.take(request_id, self._job_id):
                return False
        return self._ask(True, lambda journal, _: journal.claim_request(self._job_id, request_id))

    def owned(self, request_ids: Collection[str]) -> set[str]:
        """Give those of the requests that are others'."""
        claimed = ((each, self._claims.read(each)) for each in request_ids)
        here = {each for each, owner in claimed if owner not in (None, self._job_id)}
        nobody: dict[str, str] = {}
        owners = self._ask(nobody, lambda journal, _: journal.owners(list(request_ids)))
        return here | {each for each, owner in owners.items() if owner != self._job_id}

    def awaited_alike(self, record: JobRecord) -> list[float]:
        """Give when others sent equal arguments whose reply may still come."""
        here = [
            kept.submitting_at or 0.0
            for kept in kept_records(self._settings.home)
            if kept.job_id != self._job_id
            and kept.phase == Phase.SUBMITTING
            and kept.lost_at is None
            and kept.arguments_hash == record.arguments_hash
        ]
        none: list[float] = []
        return here + self._ask(none, lambda _, redis: awaited_alike(redis, record))

    def _ask(self, otherwise: _T, ask: Callable[[Journal, Redis], _T]) -> _T:
        """Ask Redis; one that does not answer is not asked again."""
        try:
            with self._redis() as redis, translate_redis_errors():
                if redis is not None:
                    return ask(Journal(redis, self._settings.account), redis)
        except (RedisUnavailableError, ConfigurationError):
            self._beside_queue = False
        return otherwise

    @contextlib.contextmanager
    def _redis(self) -> Iterator[Redis | None]:
        """Connect to a Redis that is there; none is started for this."""
        if not self._beside_queue or not _is_there(self._settings):
            yield None
            return
        with connect(self._settings) as redis:
            yield redis


def _is_there(settings: Settings) -> bool:
    if not settings.embedded:
        return True
    from falq.embedded import find_server

    return find_server(settings.home) is not None
