"""How long to wait between two looks at a fal request; pure.

A fixed interval sees a finished job half an interval late on average. Here the wait grows
with the age of the request, so that a quick one is seen at once and a long one costs few
calls: a tenth of the age, from 0.1 s up to the configured ``poll_interval``.
"""

from __future__ import annotations

#: Shortest wait between two polls of one request, seconds.
SHORTEST_S = 0.1
#: Part of a request's age that may be lost by seeing its end late.
AGE_PART = 0.1


def poll_wait_s(
    age_s: float, longest_s: float, *, fixed_s: float | None = None, position: int | None = None
) -> float:
    """Give the seconds until the next look at a request.

    Args:
        age_s: Seconds since fal accepted it.
        longest_s: The queue's ``poll_interval``.
        fixed_s: ``--poll-interval`` of the caller; it is used as it is.
        position: Place in fal's queue; far back, looks are as rare as allowed.

    >>> [round(poll_wait_s(age, 5.0), 2) for age in (0, 3, 20, 600)]
    [0.1, 0.3, 2.0, 5.0]
    """
    if fixed_s is not None:
        return fixed_s
    if position is not None and position > 20:
        return longest_s
    return min(longest_s, max(SHORTEST_S, age_s * AGE_PART))


def backoff_s(
    attempt: int, spread: float, *, first_s: float = 0.5, longest_s: float = 30.0
) -> float:
    """Give the wait before attempt number ``attempt`` (from 1): doubled each time, with jitter.

    Args:
        attempt: How many attempts have failed.
        spread: A random number from [0, 1); full jitter between half and the whole.
        first_s: Wait after the first failure.
        longest_s: Cap.

    >>> [backoff_s(n, 0.999999) > backoff_s(n, 0.0) for n in (1, 5)]
    [True, True]
    >>> round(backoff_s(3, 0.0), 2), round(backoff_s(30, 0.0), 2)
    (1.0, 15.0)
    """
    whole = min(longest_s, first_s * 2.0 ** min(attempt - 1, 30))
    return whole * (0.5 + spread / 2)


def max_polls(job_timeout_s: float, poll_interval_s: float) -> int:
    """Give the seed's computed ``max_polls``: as many as fit into the job's time.

    >>> max_polls(600, 5)
    120
    """
    return max(1, round(job_timeout_s / poll_interval_s))
