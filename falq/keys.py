"""Every Redis key of falq, and those of RQ's that it touches.

``{a}`` is the account: a short hash of a key and of the fal that it is for. All limits of an
account share its hash tag. A job's own keys are found by its id alone.

==========================  ======  ================================================  =========================
key                         type    holds                                             lives / written by
==========================  ======  ================================================  =========================
falq:job:<job_id>           hash    the record (``falq.record``) + score, late_token,  7 days past its end; all
                                    left_token
falq:events:<job_id>        stream  ``e``: JSON of an event, newest 500               as the record; workers
falq:caller:<job_id>        string  somebody waits for the job: ``listens:<job_id>``  10 s; callers
                                    names the channel ``falq:caller:<job_id>`` on
                                    which it listens, beside the job's own
falq:owner:<request_id>     string  the job that claimed a request of fal's history   30 days; workers
falq:idem:<fal>:<key>       string  job_id of an idempotency key; ``<fal>`` is empty  24 h; enqueue
                                    or the origin that stands in for fal
falq:same:<print>           zset    job_ids of equal calls by time of creation        24 h past their end; enqueue
falq:prints                 zset    prints of calls by the time last made             as those; enqueue
falq:upload:{a}:<sha256>    string  URL of an uploaded file                           24 h; callers
falq:jobs                   zset    job_ids by time of creation                       entries 7 days; enqueue
falq:unknown                set     job_ids whose outcome is unknown                  until resolved; advance
falq:intake                 list    job_ids without an account                        until taken in; enqueue
falq:worker:<name>          hash    account, host, version, queues, concurrency       12 s; workers
falq:workers                zset    names of workers by their last word               entries 24 h; workers
falq:alive:<a>              string  a worker that serves the account                  12 s; workers
falq:probe:<type>           set     one of each type, and gone: may we write?        60 s; doctor
falq:counters               hash    counts and sums for metrics                       for ever; scripts
falq:{a}:queues             set     queues that had a job                             for ever; enqueue
falq:{a}:scope:<queue>      hash    limits in force (max_concurrent, interval_us,       for ever; enqueue,
                                    emission_us, burst, config_id, paused, hold_until,  configure, admit
                                    hold_reason), their state (tat, last, vt), and
                                    counts (ended:<phase>, waits:<limit>)
falq:{a}:scope:@            hash    the same for the account, and its logical clock:  for ever; every script
                                    wall, now, virtual, seq, token, timer,
                                    timer_worker, asleep, offers, due
falq:{a}:waiting:<queue>    zset    job_ids by lane and place                         enqueue, admit
falq:{a}:ready              zset    queues with work by virtual time                  enqueue, admit
falq:{a}:parked             zset    queues with work by the time they may start       admit
falq:{a}:leases             zset    job_ids by expiry of their lease                  admit, renew, reap
falq:{a}:held:<queue>       set     those of one queue                                admit, reap
falq:{a}:adopt              list    jobs whose holder is gone                         reap, admit
falq:{a}:waiters            zset    ``<worker> <Lua pattern of its queues>`` of idle  admit
                                    workers by the time they fell asleep
falq:{a}:told:<queue>       stream  what a queue waits for, newest 100                admit
falq:{a}:wake:<worker>      channel ``look`` or ``cancel:<job_id>``
falq:wake                   channel a job without account came in
==========================  ======  ================================================  =========================

RQ: ``rq:queues`` (set), ``rq:queue:<queue>`` (list of waiting job_ids, the view for stock
tools), ``rq:probe`` (as ``falq:probe``), ``rq:job:<job_id>`` (hash),
``rq:failed:<queue>`` and ``rq:canceled:<queue>`` (zsets, of
jobs that no worker shows as ended). Times in Redis are whole microseconds of the logical clock,
except in records, which have Unix seconds.
"""

from __future__ import annotations

JOBS = "falq:jobs"
UNKNOWN = "falq:unknown"
INTAKE = "falq:intake"
COUNTERS = "falq:counters"
PRINTS = "falq:prints"
WORKERS = "falq:workers"
INTAKE_CHANNEL = "falq:wake"
RQ_QUEUES = "rq:queues"
#: The scope of a whole account.
ACCOUNT_SCOPE = "@"


def job(job_id: str) -> str:
    """Key of a job's record."""
    return f"falq:job:{job_id}"


def events(job_id: str) -> str:
    """Key of a job's event stream."""
    return f"falq:events:{job_id}"


def caller(job_id: str) -> str:
    """Key that says that somebody waits for a job."""
    return f"falq:caller:{job_id}"


def owner(request_id: str) -> str:
    """Key of the job that claimed a request."""
    return f"falq:owner:{request_id}"


def idempotency(fal: str, key: str) -> str:
    """Key of an idempotency key; ``fal`` is '' or the origin that stands in for fal."""
    return f"falq:idem:{fal}:{key}"


def same(fingerprint: str) -> str:
    """Key of equal calls."""
    return f"falq:same:{fingerprint}"


def upload(account: str, sha256: str) -> str:
    """Key of the URL of an uploaded file."""
    return f"falq:upload:{{{account}}}:{sha256}"


def worker(name: str) -> str:
    """Key of what a worker says about itself."""
    return f"falq:worker:{name}"


def alive(account: str) -> str:
    """Key that says that a worker serves an account."""
    return f"falq:alive:{account}"


def of_account(account: str, name: str) -> str:
    """Key of an account: queues, ready, parked, adopt or waiters."""
    return f"falq:{{{account}}}:{name}"


def scope(account: str, name: str) -> str:
    """Key of a scope's limits."""
    return of_account(account, f"scope:{name}")


def waiting(account: str, queue: str) -> str:
    """Key of the jobs that wait in a queue."""
    return of_account(account, f"waiting:{queue}")


def leases(account: str) -> str:
    """Key of the leases of an account."""
    return of_account(account, "leases")


def held(account: str, queue: str) -> str:
    """Key of the jobs of a queue that have a lease."""
    return of_account(account, f"held:{queue}")


def told(account: str, queue: str) -> str:
    """Key of the stream that says what a queue waits for."""
    return of_account(account, f"told:{queue}")


def wake(account: str, worker_name: str) -> str:
    """Channel of one worker."""
    return of_account(account, f"wake:{worker_name}")


def rq_queue(queue: str) -> str:
    """RQ's list of a queue."""
    return f"rq:queue:{queue}"


def rq_job(job_id: str) -> str:
    """RQ's hash of a job."""
    return f"rq:job:{job_id}"
