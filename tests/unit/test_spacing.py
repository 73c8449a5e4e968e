import asyncio
import time

from workers.spacing import Spacing


async def test_posts_of_one_queue_keep_their_distance_and_others_do_not_wait():
    spacing, sent = Spacing(), {}

    async def send(name, queue):
        await spacing.keep(queue, 0.02)
        sent[name] = time.monotonic()

    await asyncio.gather(send("a1", "a"), send("a2", "a"), send("a3", "a"), send("b1", "b"))
    assert sent["a2"] - sent["a1"] >= 0.019
    assert sent["a3"] - sent["a2"] >= 0.019
    assert sent["b1"] - sent["a1"] < 0.019
