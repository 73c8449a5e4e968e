"""The dashboard in a real Chromium: it draws, updates by itself, fits, and runs nothing foreign.

``FALQ_SCREENSHOTS=DIR`` keeps what it looked like.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from browser import browsing, chromium
from operating import Queues, failure

from falq.limits import Limits
from falq.phases import Phase
from falq.sandbox import running_sandbox

pytestmark = pytest.mark.skipif(
    chromium() is None and os.environ.get("CI") != "true", reason="no Chromium on this machine"
)
OWNED = "<img src=x onerror=\"document.body.dataset.owned='1'\"><script>owned=1</script>"
SLOW = Limits(max_concurrent=2, start_interval_s=0, rate_per_min=1, burst=1)


@pytest.fixture
def environ(redis_url, tmp_path):
    return {"FALQ_REDIS_URL": redis_url, "FALQ_HOME": str(tmp_path / "home")}


@pytest.fixture
def queues(redis_client, environ, tmp_path):
    """Have a result, a failure with a hostile text, a running job, and one that waits."""
    with running_sandbox() as sandbox:
        environ["FALQ_FAL_URL"] = sandbox.url
        queues = Queues(redis_client, environ, tmp_path / "out")
        queues.enqueue({"prompt": f"a lighthouse {OWNED}", "num_images": 2})
        queues.enqueue({"text": "hello"}, model_id="sandbox/tts/turbo")
        queues.work()
    failed = queues.start(prompt=OWNED)
    queues.end(failed, Phase.FAILED, error={"type": "ModelError", "message": OWNED})
    for _ in range(4):
        queues.enqueue({"prompt": "waits"}, queue="falq__sandbox_flux_dev__v2", limits=SLOW)
    queues.admission.admit("host.1.abc", 1, register=False)
    return queues


@pytest.fixture
def url(queues, environ):
    command = [sys.executable, "-m", "falq", "dashboard", "--port", "0", "-q"]
    process = subprocess.Popen(
        command, env={**os.environ, **environ}, stdout=subprocess.PIPE, text=True
    )
    yield json.loads(process.stdout.readline())["url"]
    process.terminate()
    assert process.wait(timeout=10) == 0
    process.stdout.close()


async def keep(page, name):
    folder = os.environ.get("FALQ_SCREENSHOTS")
    if folder:
        await page.screenshot(Path(folder) / f"{name}.png")


def problems(page):
    return [each for each in page.told if "favicon" not in each]


async def test_the_page_draws_updates_by_itself_and_fits_a_narrow_window(url, queues, tmp_path):
    async with browsing(tmp_path / "profile") as page:
        await page.open(url)
        await page.until("document.querySelectorAll('#results article').length == 3")
        await page.until(
            "[...document.querySelectorAll('#results img')].some(i => i.complete && i.naturalWidth)"
        )
        assert "max_concurrent" not in await page.ask(
            "document.querySelector('#server').textContent"
        )
        cards = await page.ask("document.querySelector('#queues').textContent")
        assert "1 of 2" in cards
        assert await page.ask("document.querySelector('.fill').style.width") == "50%"
        await keep(page, "wide")
        text = await page.ask("document.querySelector('#results').textContent")
        assert "<script>owned=1</script>" in text
        assert "units" in text
        assert "sidecar" in text
        more = queues.start(prompt="later")
        queues.end(more, Phase.FAILED, error={"type": "ModelError", "message": "came by itself"})
        await page.until("document.body.textContent.includes('came by itself')")
        sync = queues.start(prompt="runs")
        intent = {"submits": 1, "submitting_at": time.time()}
        queues.journal.advance(sync.job_id, sync.token, Phase.SUBMITTING, fields=intent)
        await page.until("document.querySelector('#jobs').textContent.includes('running at fal')")
        await page.open(url, width=400)
        await page.until("document.querySelectorAll('#results article').length == 4")
        assert await page.ask("document.documentElement.scrollWidth") <= 400
        await keep(page, "narrow")
        assert await page.ask("document.body.dataset.owned ?? typeof owned") == "undefined"
        assert problems(page) == []


@pytest.mark.parametrize(
    "path",
    [
        "rq/", "rq/0/view/workers", "rq/0/view/jobs/q/failed/8/asc/1",
        "rq/0/view/jobs/q/queued/8/dsc/1", "rq/0/view/job/{failed}",
    ],
)  # fmt: skip
async def test_rq_dashboards_pages_draw_and_run_nothing_foreign(url, queues, tmp_path, path):
    failed = next(r for r in queues.journal.jobs() if r.error is not None)
    show_failed_in_rq(queues, failed)
    async with browsing(tmp_path / "profile") as page:
        await page.open(url + path.format(failed=failed.job_id))
        marks = {"rq/": "falq__sandbox_flux_dev__v2", "rq/0/view/workers": "host.2.abc"}
        wanted = marks.get(path, failed.job_id if "failed" in path else "jobs")
        await page.until(f"document.body.innerText.toLowerCase().includes({wanted.lower()!r})")
        await page.ask("new Promise(done => setTimeout(done, 700))")
        await keep(page, path.strip("/").replace("/", "-").format(failed="job"))
        assert await page.ask("document.body.dataset.owned ?? typeof owned") == "undefined"
        assert problems(page) == []
        for width in (1400, 380):
            await page.open(url + path.format(failed=failed.job_id), width=width)
            await page.until(f"document.body.innerText.toLowerCase().includes({wanted.lower()!r})")
            assert await page.ask("document.documentElement.scrollWidth") <= width, width
            await keep(page, f"{width}-{path}".strip("/").replace("/", "-").format(failed="job"))


async def test_what_is_idle_or_many_is_folded_and_a_card_names_its_job(url, queues, tmp_path):
    for number in range(6):
        job = queues.start(prompt=f"{number}")
        files = [
            {"path": f"/none/{n}.png", "url": "", "content_type": "image/png", "bytes": 1}
            for n in range(5)
        ]
        queues.end(job, Phase.DONE, outcome={"status": "COMPLETED", "files": files})
        queues.enqueue({"prompt": "gone"}, queue=f"idle{number}")
        (grant,) = queues.admission.admit("host.1.abc", 1, register=False).grants
        queues.end(grant, Phase.CANCELLED)
    async with browsing(tmp_path / "profile") as page:
        await page.open(url, width=380)
        await page.until(f"document.body.textContent.includes({job.job_id!r})")
        idle = await page.ask("document.querySelector('#idle summary').textContent")
        assert int(idle.split()[0]) >= 6
        assert await page.ask("document.querySelector('#idle').open") is False
        assert "2 more files" in await page.ask("document.querySelector('#results').textContent")
        top = "document.querySelector('#results').getBoundingClientRect().top"
        assert await page.ask(top) < 900


def show_failed_in_rq(queues, record):
    """Bring RQ's view up to date, as a worker does when a job has failed."""
    from workers.rq_glue import RqWorker

    worker = RqWorker(queues.redis, "host.2.abc", lambda _: None)
    (job,) = worker.load([record.job_id])
    worker.end([failure(job, worker.start([job])[0], OWNED)])
