"""Saving for the pipeline: what is told, what is remembered, where it goes."""

import asyncio
import itertools
import threading
from dataclasses import replace

import httpx
import pytest

from falq import saving
from falq.errors import OutputError
from falq.files.download import Downloader
from falq.files.policy import MediaPolicy
from falq.meeting import leave_nonce, part_ways
from falq.pipeline import Saved, partly_error
from falq.record import JobRecord
from falq.saving import LocalSaver
from falq.settings import Settings
from workers.saving import WorkerSaver
from workers.spool import Spool

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


class Cdn(httpx.AsyncBaseTransport):
    """Serves pictures; ``wait`` lets each piece come only when it is set."""

    def __init__(self, wait=None):
        self.wait = wait

    async def handle_async_request(self, request):
        async def pieces():
            yield PNG
            if self.wait is not None:
                await self.wait.wait()

        if "missing" in str(request.url):
            return httpx.Response(404)
        return httpx.Response(200, headers={"content-type": "image/png"}, content=pieces())


@pytest.fixture
def settings(tmp_path):
    return Settings.from_env({"FALQ_HOME": str(tmp_path / "home"), "FAL_KEY": "a:b"})


class Notes(list):
    async def __call__(self, event):
        self.append(event)


def job(directory, *urls, **options):
    result = {"images": [{"url": url} for url in urls]}
    output = {"directory": str(directory), "sidecar": False}
    return JobRecord(
        job_id="j", model_id="a/b", request_id="r", result=result,
        options={"output": output, **options},
    )  # fmt: skip


async def test_one_file_that_fails_is_told_beside_those_that_are_there(settings, tmp_path):
    async with Downloader(MediaPolicy(), transport=Cdn()) as downloader:
        saver = LocalSaver(settings, downloader)
        record = job(tmp_path / "out", "https://h/a.png", "https://h/missing.png")
        saved = await saver.save(record, [], Notes())
    assert len(saved.files) == 1
    error = partly_error(saved)
    assert error.message.startswith("1 of 2 files could not be saved: images[1]: ")
    assert error.retryable is False


@pytest.mark.parametrize(("mode", "words"), [("sync", "sync API"), ("async", "wrote none")])
async def test_logs_that_are_wanted_and_not_there_are_missed_aloud(settings, tmp_path, mode, words):
    notes = Notes()
    async with Downloader(MediaPolicy(), transport=Cdn()) as downloader:
        record = replace(job(tmp_path / "out", "https://h/a.png"), mode=mode)
        record.options["output"]["save_logs"] = True
        saved = await LocalSaver(settings, downloader).save(record, [], notes)
    assert saved.log_path is None
    assert words in notes[0]["warning"]


def test_files_that_could_only_not_be_written_are_an_output_error():
    failure = {"field": "a", "url": "u", "type": "OutputError", "error": "full", "retryable": True}
    error = partly_error(Saved(failures=[failure]))
    assert isinstance(error, OutputError)
    assert "falq result JOB -o DIR" in error.hint


async def test_how_far_a_long_download_has_come_is_told(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "TELL_EVERY_S", 0.001)
    go_on, notes = asyncio.Event(), Notes()
    async with Downloader(MediaPolicy(), transport=Cdn(go_on)) as downloader:
        saver = LocalSaver(settings, downloader)
        saved = asyncio.create_task(saver.save(job(tmp_path / "out", "https://h/a.png"), [], notes))
        async with asyncio.timeout(10):
            while not notes:
                await asyncio.sleep(0)
        go_on.set()
        await saved
    assert notes[0]["download"] == "images[0]"


@pytest.fixture
async def worker(settings):
    settings.home.mkdir(mode=0o700)
    spool = Spool(settings.home, max_bytes=3 * len(PNG))
    saver = WorkerSaver(settings, spool, Downloader(MediaPolicy(), transport=Cdn()))
    yield saver
    await saver.aclose()


def names(path):
    return sorted(each.name for each in path.rglob("*") if each.is_file())


async def test_a_worker_writes_where_it_meets_the_caller(worker, settings, tmp_path):
    nonce = leave_nonce(str(tmp_path))
    record = job(tmp_path, "https://h/a.png", nonce=nonce)
    saved = await worker.save(record, [], Notes())
    assert (len(saved.files), saved.remote) == (1, False)
    assert names(settings.home / "spool") == []
    part_ways(record.options)
    assert not [name for name in names(tmp_path) if name.startswith(".falq-")]


async def test_a_link_that_is_swapped_in_meanwhile_leads_no_worker_astray(worker, tmp_path):
    mine, victim, path = tmp_path / "mine", tmp_path / "victim", tmp_path / "out"
    for directory in (mine, victim):
        directory.mkdir()
    path.symlink_to(mine)
    nonce = leave_nonce(str(path))
    swapping = True

    def swap():
        targets = itertools.cycle((victim, mine))
        while swapping:
            (tmp_path / "next").symlink_to(next(targets))
            (tmp_path / "next").replace(path)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for number in range(100):
            await worker.save(job(path, f"https://h/{number}.png", nonce=nonce), [], Notes())
    finally:
        swapping = False
        swapper.join()
    assert names(victim) == []


async def test_a_worker_keeps_a_copy_for_a_caller_out_of_reach(worker, settings, tmp_path):
    saved = await worker.save(job(tmp_path / "out", "https://h/a.png", nonce="0" * 32), [], Notes())
    assert (len(saved.files), saved.remote) == (1, True)
    assert saved.files[0]["path"].startswith(str(settings.home / "spool" / "j"))
    assert not (tmp_path / "out").exists()


def far(directory, job_id, *urls, size=None):
    images = [{"url": url, "file_size": size} for url in urls]
    return replace(job(directory), job_id=job_id, result={"images": images})


async def test_the_spool_stays_within_its_bound_whatever_comes(worker, settings, tmp_path):
    jobs = [far(tmp_path / "out", f"j{n}", f"https://h/{n}.png") for n in range(12)]
    for record in jobs:
        assert (await worker.save(record, [], Notes())).files
    await asyncio.gather(*(worker.save(record, [], Notes()) for record in jobs))
    kept = sum(path.stat().st_size for path in (settings.home / "spool").rglob("*.png"))
    assert 0 < kept <= 3 * len(PNG)


async def test_a_job_that_the_spool_cannot_hold_is_not_copied(worker, settings, tmp_path):
    notes = Notes()
    saved = await worker.save(
        far(tmp_path / "out", "big", "https://h/a.png", size=10**6), [], notes
    )
    assert (saved.files, saved.remote) == ((), True)
    assert "do not fit" in notes[0]["warning"]
    many = far(tmp_path / "out", "many", *(f"https://h/{n}.png" for n in range(12)))
    assert (await worker.save(many, [], Notes())).remote
    assert names(settings.home / "spool") == []


async def test_a_spool_that_was_removed_is_private_again(worker, settings, tmp_path):
    (settings.home / "spool").mkdir(mode=0o700, exist_ok=True)
    (settings.home / "spool").rmdir()
    await worker.save(far(tmp_path / "out", "j", "https://h/a.png"), [], Notes())
    assert (settings.home / "spool").stat().st_mode & 0o777 == 0o700


async def test_a_job_id_never_leads_out_of_the_spool(worker, settings, tmp_path):
    await worker.save(far(tmp_path / "out", "../../j", "https://h/a.png"), [], Notes())
    assert not [name for name in names(tmp_path) if name.endswith(".png")]


async def test_what_a_worker_cannot_keep_a_far_caller_may_still_fetch(worker, tmp_path):
    notes = Notes()
    record = job(tmp_path / "out", "https://h/a.png", "https://h/missing.png")
    saved = await worker.save(record, [], notes)
    assert (len(saved.files), saved.failures, saved.remote) == (1, (), True)
    assert "missing.png is not there" in notes[0]["warning"]
