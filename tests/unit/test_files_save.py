"""A whole result saved, and saved again."""

import asyncio
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from falq.errors import OutputError
from falq.files import partial as partial_module
from falq.files.artifacts import SavedFile
from falq.files.download import RESULTS_PER_FILE, Downloader
from falq.files.output import OutputDirectory
from falq.files.policy import MediaPolicy
from falq.files.save import save_result
from falq.files.sidecar import JobFacts
from falq.files.spec import OutputSpec

JOB = JobFacts(
    job_id="0197-job",
    model_id="fal-ai/flux/dev",
    request_id="764cabcf-b745",
    arguments={"prompt": "a cat"},
    billable_units=2.0,
    created_at=1735732800.0,
)
LOGS = [{"timestamp": "T", "level": "INFO", "message": "step"}] * 2


def png(url):
    return b"\x89PNG\r\n\x1a\n" + url.encode()


class Cdn(httpx.AsyncBaseTransport):
    """Serves a picture of each URL, but for those that are ``missing``."""

    def __init__(self):
        self.missing = set()
        self.asked = []

    async def handle_async_request(self, request):
        url = str(request.url)
        self.asked.append(url)
        if url in self.missing:
            return httpx.Response(404)
        return httpx.Response(200, headers={"content-type": "image/png"}, content=png(url))


class Bench:
    def __init__(self, path):
        self.path = path
        self.cdn = Cdn()

    async def save(self, result, job=JOB, policy=None, logs=(), known=(), **spec):
        output = OutputSpec(directory=str(self.path), **spec).resolved()
        async with Downloader(policy or MediaPolicy(), transport=self.cdn) as downloader:
            return await save_result(
                result, downloader=downloader, output=output, job=job, logs=logs, known=known
            )

    def names(self):
        paths = (path for path in self.path.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.path)) for path in paths)

    def sidecar(self, name):
        return json.loads((self.path / f"{name}.json").read_text())


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "out")


def images(count):
    return {"images": [{"url": f"https://h/{n}.png"} for n in range(1, count + 1)], "seed": 7}


def paths(saved):
    return [Path(file.path).name for file in saved.files]


async def test_a_single_file_and_its_sidecar(bench):
    saved = await bench.save(images(1))
    assert paths(saved) == ["flux-dev-764cabcf.png"]
    assert bench.names() == ["flux-dev-764cabcf.png", "flux-dev-764cabcf.png.json"]
    shown = bench.sidecar("flux-dev-764cabcf.png")
    assert (shown["job_id"], shown["billable_units"]) == ("0197-job", 2.0)
    assert shown["sha256"] == saved.files[0].sha256


async def test_files_come_back_in_the_results_order(bench):
    saved = await bench.save(images(8), sidecar=False)
    assert paths(saved) == [f"flux-dev-764cabcf-{n}.png" for n in range(1, 9)]
    assert [file.url for file in saved.files] == [f"https://h/{n}.png" for n in range(1, 9)]


async def test_auto_filename(bench):
    saved = await bench.save(images(2), auto_filename=True)
    stem = "764cabcf-b745_20250101120000"
    assert paths(saved) == [f"{stem}.png", f"{stem}_2.png"]


async def test_an_output_file_in_a_folder_of_its_own(bench):
    saved = await bench.save(images(2), output_file="sub/cat.png", sidecar=False)
    assert [file.path for file in saved.files] == [
        f"{bench.path}/sub/cat.png",
        f"{bench.path}/sub/cat-2.png",
    ]


async def test_one_missing_file_does_not_stop_the_others(bench):
    bench.cdn.missing = {"https://h/3.png"}
    saved = await bench.save(images(8))
    assert len(saved.files) == 7
    (failure,) = saved.failures
    assert (failure["field"], failure["url"]) == ("images[2]", "https://h/3.png")
    assert "404" in failure["error"]


async def test_a_second_time_fetches_only_what_is_missing(bench):
    bench.cdn.missing = {"https://h/3.png"}
    await bench.save(images(8))
    bench.cdn.missing, bench.cdn.asked = set(), []
    saved = await bench.save(images(8))
    assert bench.cdn.asked == ["https://h/3.png"]
    assert paths(saved) == [f"flux-dev-764cabcf-{n}.png" for n in range(1, 9)]
    assert saved.failures == ()


async def test_what_an_earlier_result_tells_of_is_not_fetched_again(bench):
    first = await bench.save(images(2), sidecar=False)
    bench.cdn.asked = []
    again = await bench.save(images(2), known=first.files, sidecar=False)
    assert again.files == first.files
    assert bench.cdn.asked == []


async def test_without_sidecars_a_second_time_still_makes_no_second_copy(bench):
    await bench.save(images(2), sidecar=False)
    await bench.save(images(2), sidecar=False)
    assert len(bench.names()) == 2


async def test_a_file_that_somebody_edited_is_kept_and_fetched_beside_it(bench):
    await bench.save(images(1), output_file="cat.png")
    (bench.path / "cat.png").write_bytes(b"painted over")
    saved = await bench.save(images(1), output_file="cat.png")
    assert paths(saved) == ["cat-2.png"]
    assert (bench.path / "cat.png").read_bytes() == b"painted over"


async def test_two_jobs_with_the_same_output_file_get_a_file_each(bench):
    other = JobFacts(job_id="other", model_id="fal-ai/flux/dev", request_id="r2")
    await bench.save({"image": {"url": "https://h/a"}}, output_file="cat.png")
    saved = await bench.save({"image": {"url": "https://h/b"}}, job=other, output_file="cat.png")
    assert paths(saved) == ["cat-2.png"]
    assert (bench.path / "cat.png").read_bytes() == png("https://h/a")
    assert bench.sidecar("cat-2.png")["job_id"] == "other"
    assert bench.sidecar("cat.png")["job_id"] == "0197-job"


async def test_equal_files_of_two_jobs_have_a_sidecar_each_that_names_its_job(bench):
    await bench.save(images(1), output_file="cat.png")
    other = replace(JOB, job_id="0198-other", request_id="other")
    for _ in range(2):
        saved = await bench.save(images(1), job=other, output_file="cat.png")
        assert paths(saved) == ["cat-2.png"]
    assert bench.sidecar("cat.png")["job_id"] == JOB.job_id
    assert bench.sidecar("cat-2.png")["job_id"] == "0198-other"
    assert len(bench.names()) == 4


async def test_the_sidecar_of_another_jobs_file_that_is_gone_gives_way(bench):
    await bench.save(images(1), output_file="cat.png")
    (bench.path / "cat.png").unlink()
    await bench.save(images(1), job=replace(JOB, job_id="0198-other"), output_file="cat.png")
    assert bench.sidecar("cat.png")["job_id"] == "0198-other"


async def test_where_there_are_no_logs_there_is_no_file_of_them(bench):
    saved = await bench.save(images(1), logs=[], save_logs=True, save_logs_inline=True)
    assert saved.log_path is None
    assert not [name for name in bench.names() if name.endswith(".log")]


async def test_a_sidecar_of_a_file_that_is_gone_gives_way(bench):
    await bench.save({"image": {"url": "https://h/a"}}, output_file="cat.png")
    (bench.path / "cat.png").unlink()
    other = JobFacts(job_id="other", model_id="fal-ai/flux/dev")
    await bench.save({"image": {"url": "https://h/b"}}, job=other, output_file="cat.png")
    assert bench.sidecar("cat.png")["job_id"] == "other"


async def test_hidden_files_of_strangers_survive_a_job_that_is_named_like_them(bench):
    strange = [".cat.part", ".log.part", ".cat.png.json.part", ".flux-dev-764cabcf.part"]
    bench.path.mkdir()
    for name in strange:
        (bench.path / name).write_text("precious")
    spec = {"output_file": "cat.png", "save_logs_inline": True}
    await bench.save(images(1), logs=LOGS, **spec)
    assert [name for name in bench.names() if name.startswith(".")] == sorted(strange)


async def test_each_file_of_a_job_has_a_temporary_name_of_its_own(bench, monkeypatch):
    begun = []

    class Noted(OutputDirectory):
        def partial(self, label):
            begun.append(label)
            return super().partial(label)

    monkeypatch.setattr("falq.files.save.OutputDirectory", Noted)
    await bench.save(images(2), logs=LOGS, save_logs_inline=True)
    await bench.save({"text": "hi"})
    assert len(begun) == len(set(begun)) == 6
    assert all(label.startswith("0197-job-") for label in begun)


async def test_a_foreign_file_under_a_sidecars_name_is_left_alone(bench):
    bench.path.mkdir()
    (bench.path / "cat.png.json").write_text("mine")
    saved = await bench.save(images(1), output_file="cat.png")
    assert paths(saved) == ["cat.png"]
    assert saved.warnings
    assert (bench.path / "cat.png.json").read_text() == "mine"


async def test_a_result_without_files_is_saved_itself(bench):
    saved = await bench.save({"output": "Grüße"})
    assert paths(saved) == ["flux-dev-764cabcf.json"]
    assert json.loads((bench.path / "flux-dev-764cabcf.json").read_text()) == {"output": "Grüße"}
    assert (saved.files[0].url, saved.files[0].content_type) == (None, "application/json")
    assert bench.names() == ["flux-dev-764cabcf.json"]


async def test_many_results_without_files_hold_few_directories_open(tmp_path):
    opened, peak = set(), 0

    class Counted(OutputDirectory):
        def __init__(self, *args):
            nonlocal peak
            super().__init__(*args)
            opened.add(self)
            peak = max(peak, len(opened))

        def close(self):
            super().close()
            opened.discard(self)

    output = OutputSpec(directory=str(tmp_path))
    async with Downloader(MediaPolicy(parallel=1)) as downloader:
        saved = await asyncio.gather(*(
            save_result(
                {"text": number}, downloader=downloader, output=output,
                job=replace(JOB, job_id=f"j{number}", request_id=f"r{number}"),
                opening=lambda: Counted.open(str(tmp_path)),
            )
            for number in range(40)
        ))  # fmt: skip
    assert len({each.files[0].path for each in saved}) == len(list(tmp_path.iterdir())) == 40
    assert 1 < peak <= RESULTS_PER_FILE
    assert not opened


async def test_hostile_names_of_fal_are_no_paths(bench):
    job = JobFacts(job_id="j", model_id="fal-ai/flux", request_id="../../../x")
    result = {"image": {"url": "https://h/..%2F..%2Fx.sh", "file_name": "../../etc/x"}}
    for spec in ({}, {"auto_filename": True}):
        for file in (await bench.save(result, job=job, **spec)).files:
            assert Path(file.path).parent == bench.path
    assert all("/" not in name for name in bench.names())


async def test_logs_go_where_they_are_wanted(bench):
    saved = await bench.save(images(1), logs=LOGS, save_logs=True, output_file="cat.png")
    assert saved.log_path == f"{bench.path}/logs/764cabcf-b745_20250101120000.log"
    assert Path(saved.log_path).read_text() == "T INFO step\n"
    inline = await bench.save(images(1), logs=LOGS, save_logs_inline=True, output_file="cat.png")
    assert inline.log_path == f"{bench.path}/cat.log"


async def test_the_sandboxs_files_are_marked_as_such(bench):
    job = JobFacts(job_id="j", model_id="a/b", sandbox=True)
    await bench.save(images(1), job=job, output_file="cat.png")
    assert bench.sidecar("cat.png")["sandbox"] is True


async def test_the_files_of_one_job_have_a_limit_together(bench):
    policy = MediaPolicy(max_job_bytes=40)
    saved = await bench.save(images(8), policy=policy)
    assert len(saved.files) < 8
    assert "together" in saved.failures[0]["error"]


async def test_a_result_with_thousands_of_files_is_cut_off(bench, monkeypatch):
    monkeypatch.setattr("falq.files.save.MAX_FILES", 3)
    saved = await bench.save(images(5), sidecar=False)
    assert len(saved.files) == 3
    assert "more than 3 files" in saved.failures[0]["error"]


async def test_a_full_disk_is_told_for_each_file_and_leaves_nothing(bench, monkeypatch):
    def refuse(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(partial_module.os, "write", refuse)
        saved = await bench.save(images(2))
    assert ["disk full" in failure["error"] for failure in saved.failures] == [True, True]
    assert bench.names() == []


async def test_an_output_that_is_no_directory_is_an_error(bench):
    bench.path.write_text("a file")
    with pytest.raises(OutputError):
        await bench.save(images(1))


async def test_progress_names_the_file(bench):
    seen = []
    async with Downloader(MediaPolicy(), transport=bench.cdn) as downloader:
        await save_result(
            images(1),
            downloader=downloader,
            output=OutputSpec(directory=str(bench.path)),
            job=JOB,
            on_progress=lambda *told: seen.append(told),
        )
    size = len(png("https://h/1.png"))
    assert seen[-1] == ("images[0]", size, size)


def known_at(path, content):
    return SavedFile(
        path=str(path),
        url="https://h/1.png",
        content_type="image/png",
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


async def test_a_file_that_is_on_disk_elsewhere_is_copied_even_if_fal_has_it_no_more(
    bench, tmp_path
):
    content = png("https://h/1.png")
    (tmp_path / "1.png").write_bytes(content)
    bench.cdn.missing = {"https://h/1.png"}
    saved = await bench.save(images(1), known=[known_at(tmp_path / "1.png", content)])
    assert paths(saved) == ["flux-dev-764cabcf.png"]
    assert Path(saved.files[0].path).read_bytes() == content
    assert bench.cdn.asked == []


async def test_a_known_file_that_was_changed_since_is_fetched_again(bench, tmp_path):
    (tmp_path / "1.png").write_bytes(b"something else")
    saved = await bench.save(
        images(1), known=[known_at(tmp_path / "1.png", png("https://h/1.png"))]
    )
    assert Path(saved.files[0].path).read_bytes() == png("https://h/1.png")


async def test_other_bytes_than_those_that_were_seen_before_are_refused(bench, tmp_path):
    saved = await bench.save(images(1), known=[known_at(tmp_path / "gone.png", b"other bytes")])
    assert (saved.files, saved.failures[0]["type"]) == ((), "DownloadError")
    assert "sha256 differs" in saved.failures[0]["error"]
    assert bench.names() == []


async def test_files_have_the_mode_that_their_owner_wants(bench):
    bench.path.mkdir()
    output = OutputSpec(directory=str(bench.path), save_logs=True)

    def opening():
        return OutputDirectory(str(bench.path), os.open(bench.path, os.O_RDONLY), 0o644)

    before = os.umask(0o077)
    try:
        async with Downloader(MediaPolicy(), transport=bench.cdn) as downloader:
            saved = await save_result(
                images(1), downloader=downloader, output=output, job=JOB, logs=LOGS, opening=opening
            )
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in bench.path.rglob("*")}
    assert modes.pop("logs") == 0o755
    assert set(modes.values()) == {0o644}
    assert saved.log_path is not None
