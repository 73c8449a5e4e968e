"""Files in and out of the sandbox, with the same code that speaks to fal."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from falq.errors import InvalidKeyError
from falq.files import upload as upload_module
from falq.files.download import Downloader
from falq.files.policy import MediaPolicy
from falq.files.save import save_result
from falq.files.sidecar import JobFacts
from falq.files.spec import OutputSpec
from falq.files.upload import Storage, upload_file
from falq.sandbox import running_sandbox

KEY = "id:secret"
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "download.py"


@pytest.fixture(scope="module")
def sandbox():
    with running_sandbox() as running:
        yield running


async def save(sandbox, result, directory, **spec):
    async with Downloader(MediaPolicy(allowed_origin=sandbox.url)) as downloader:
        return await save_result(
            result,
            downloader=downloader,
            output=OutputSpec(directory=str(directory), **spec),
            job=JobFacts(job_id="j1", model_id="sandbox/flux/dev", sandbox=True),
        )


def generate(sandbox, **arguments):
    answer = httpx.post(
        f"{sandbox.url}/run/sandbox/flux/dev",
        json={"prompt": "a cat", **arguments},
        headers={"Authorization": f"Key {KEY}"},
    )
    return answer.raise_for_status().json()


async def upload(sandbox, path, key=KEY, **options):
    storage = Storage(rest_url=f"{sandbox.url}/rest", key=key)
    return await upload_file(str(path), storage=storage, **options)


async def download(sandbox, url, directory):
    saved = await save(sandbox, {"file": {"url": url}}, directory, sidecar=False)
    return saved.files[0]


async def test_a_generated_picture_is_saved_with_its_sidecar(sandbox, tmp_path):
    saved = await save(sandbox, generate(sandbox), tmp_path)
    (file,) = saved.files
    body = Path(file.path).read_bytes()
    assert hashlib.sha256(body).hexdigest() == file.sha256
    assert json.loads(Path(f"{file.path}.json").read_text())["sandbox"] is True


async def test_without_the_sandboxs_permission_its_files_are_refused(sandbox, tmp_path):
    async with Downloader(MediaPolicy()) as downloader:
        saved = await save_result(
            generate(sandbox),
            downloader=downloader,
            output=OutputSpec(directory=str(tmp_path)),
            job=JobFacts(job_id="j1", model_id="sandbox/flux/dev"),
        )
    assert saved.files == ()
    assert "refused" in saved.failures[0]["error"]


@pytest.mark.parametrize("size", [1, 300_000])
async def test_an_uploaded_file_comes_back_as_it_was(sandbox, tmp_path, size):
    path = tmp_path / "in.bin"
    path.write_bytes(os.urandom(size))
    seen = []
    url = await upload(sandbox, path, on_progress=lambda *told: seen.append(told))
    assert seen[-1] == (size, size)
    file = await download(sandbox, url, tmp_path / "out")
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


async def test_a_large_file_goes_in_parts_and_comes_back_whole(sandbox, tmp_path, monkeypatch):
    monkeypatch.setattr(upload_module, "MULTIPART_ABOVE_BYTES", 1_000_000)
    monkeypatch.setattr(upload_module, "PART_BYTES", 2 * upload_module.PIECE_BYTES)
    path = tmp_path / "in.mp4"
    path.write_bytes(b"\0\0\0\x20ftypisom" + os.urandom(2_000_000))
    url = await upload(sandbox, path)
    file = await download(sandbox, url, tmp_path / "out")
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert file.content_type == "video/mp4"


async def test_a_wrong_key_is_told(sandbox, tmp_path):
    path = tmp_path / "in.txt"
    path.write_text("x")
    with pytest.raises(InvalidKeyError):
        await upload(sandbox, path, key="bad:key")


@pytest.mark.skipif(shutil.which("curl") is None, reason="the benchmark compares with curl")
def test_a_large_download_takes_little_memory():
    command = [sys.executable, str(BENCHMARK), "--runs", "1"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(ran.stdout)["extra_rss_mb"] < 20
