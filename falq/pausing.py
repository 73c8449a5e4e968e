"""Pausing a queue by hand, for all workers of its account at once."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from redis import Redis

from falq.admission import Admission
from falq.errors import UsageError
from falq.keys import ACCOUNT_SCOPE
from falq.overview import ScopeLine, accounts_in_use, scopes_of
from falq.settings import Settings


def change_pause(redis: Redis, settings: Settings, queue: str, *, paused: bool) -> ScopeLine:
    """Pause or resume a queue and say how it stands; jobs that run go on. Safe to repeat.

    Args:
        redis: Bytes replies.
        settings: Its account is meant; without a key, the one that has such a queue.
        queue: Its name, or ``@`` for all queues of the account.
        paused: Whether it shall start nothing.

    Raises:
        UsageError: There is no such queue, or several accounts have one and no key says which.
    """
    account = _account_with(redis, settings, queue)
    admission = Admission(redis, account)
    (admission.pause if paused else admission.resume)(queue)
    return next(line for line in scopes_of(redis, account) if line.queue == queue)


def _account_with(redis: Redis, settings: Settings, queue: str) -> str:
    accounts = [settings.account] if settings.account else accounts_in_use(redis, settings)
    names = {account: Admission(redis, account).queues() for account in accounts}
    having = [each for each, known in names.items() if queue in (*known, ACCOUNT_SCOPE)]
    if len(having) == 1:
        return having[0]
    if having:
        raise UsageError(f"{len(having)} accounts have {queue!r}", "set FAL_KEY to say which")
    raise no_such_queue(queue, {name for each in names.values() for name in each})


def no_such_queue(queue: str, known: Collection[str]) -> UsageError:
    """Make the error for a queue that there is not, with the one that may be meant."""
    close = get_close_matches(queue, sorted(known), n=1)
    hint = f"did you mean {close[0]}?" if close else "falq status shows the queues"
    return UsageError(f"there is no queue {queue!r}", hint)
