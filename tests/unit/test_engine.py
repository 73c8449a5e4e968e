"""The engine's loop on a station and books that are not there."""

import asyncio
from types import SimpleNamespace

import pytest

from falq.admission import Admitted, Grant
from workers.bookkeeping import Held
from workers.engine import Engine

GRANTS = tuple(Grant(f"job-{number}", "q", number, False) for number in range(3))


class Books:
    """Notes who was begun, left to others and let go."""

    name, suspended = "w", False

    def __init__(self, on_begin):
        self.held, self.left, self.on_begin = {}, [], on_begin
        self.outage = SimpleNamespace(tell=print)

    def start(self, wake, lose, cancel):
        self.lose = lose

    def stop(self):
        pass

    def begin(self, grants):
        self.held |= {grant.job_id: Held(grant) for grant in grants}
        self.on_begin()
        return list(self.held.values())

    def end(self, ended):
        return [None] * len(ended)

    def surrender(self, held):
        self.left.append(held.grant.job_id)

    def let_go(self, held):
        del self.held[held.grant.job_id]


class Station:
    """Grants all jobs once; works on each for ever."""

    def __init__(self):
        self.grants = GRANTS
        self.admission = self.threads = self.journal = self

    def admit(self, _worker, limit, queues=None):
        given, self.grants = (self.grants, ()) if limit else ((), self.grants)
        return Admitted(given, None, "", False)

    async def run(self, call, *args, **kwargs):
        return call(*args, **kwargs)

    def find(self, _job_id):
        return None

    def open_ledger(self, grant, _record):
        return SimpleNamespace(record=None)

    async def work(self, _ledger):
        await asyncio.Event().wait()

    async def close(self):
        pass


def engine(on_begin):
    books = Books(on_begin)
    disk = SimpleNamespace(is_short=lambda: False)
    return Engine(station=Station(), books=books, disk=disk)


@pytest.mark.parametrize("begun", [False, True])
async def test_a_second_signal_leaves_all_jobs_to_others_and_ends_the_worker(begun):
    """Also those whose work was about to take its first step."""

    def signal_twice():
        loop = asyncio.get_running_loop()
        for _ in range(2):
            loop.call_later(0.05, made._on_signal) if begun else loop.call_soon(made._on_signal)

    made = engine(signal_twice)
    async with asyncio.timeout(5):
        await made.run()
    assert sorted(made.books.left) == [grant.job_id for grant in GRANTS]
    assert not made.books.held


async def test_a_job_whose_lease_is_lost_before_its_first_step_is_let_go():
    def lose_one():
        asyncio.get_running_loop().call_soon(made._cancel_task, "job-1")
        asyncio.get_running_loop().call_later(0.05, held.update, made.books.held)
        for _ in range(2):
            asyncio.get_running_loop().call_later(0.1, made._on_signal)

    held = {}
    made = engine(lose_one)
    async with asyncio.timeout(5):
        await made.run()
    assert sorted(held) == ["job-0", "job-2"]
