"""Work in batches: what is asked while one is under way goes together in the next."""

import asyncio
import threading

import pytest

from falq.batches import MOST, Batches
from workers.threads import Threads


@pytest.fixture
def threads():
    made = Threads(2, "test")
    yield made
    made.close()


class Slow:
    """Work that waits until it is let go; remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()

    def __call__(self, things):
        self.go.wait(5)
        self.batches.append(list(things))
        return [ValueError(thing) if thing < 0 else thing * 10 for thing in things]


async def test_what_is_asked_meanwhile_goes_together_and_each_gets_its_own_outcome(threads):
    slow = Slow()
    batches = Batches(slow, threads.run)
    first = asyncio.create_task(batches.do(1))
    await asyncio.sleep(0.02)
    others = [asyncio.create_task(batches.do(thing)) for thing in (2, -3, 4)]
    await asyncio.sleep(0)
    slow.go.set()
    outcomes = await asyncio.gather(first, *others, return_exceptions=True)
    assert slow.batches == [[1], [2, -3, 4]]
    assert (outcomes[0], outcomes[1], outcomes[3]) == (10, 20, 40)
    assert isinstance(outcomes[2], ValueError)


async def test_a_batch_that_fails_fails_for_each_and_the_next_one_is_done(threads):
    def work(things):
        if 0 in things:
            raise OSError("away")
        return things

    batches = Batches(work, threads.run)
    failed = await asyncio.gather(batches.do(0), batches.do(1), return_exceptions=True)
    assert [type(each) for each in failed] == [OSError, OSError]
    assert await batches.do(2) == 2


async def test_whoever_waits_no_more_keeps_nobody_waiting(threads):
    slow = Slow()
    batches = Batches(slow, threads.run)
    gone = asyncio.create_task(batches.do(1))
    stays = asyncio.create_task(batches.do(2))
    await asyncio.sleep(0.02)
    gone.cancel()
    slow.go.set()
    assert await stays == 20
    assert gone.cancelled()


async def test_no_batch_is_larger_than_the_most(threads):
    slow = Slow()
    slow.go.set()
    batches = Batches(slow, threads.run)
    await asyncio.gather(*(batches.do(thing) for thing in range(MOST + 5)))
    assert sorted(map(len, slow.batches)) == [5, MOST]
