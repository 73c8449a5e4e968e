"""An ended job's outcome: what is vouched for, and what is fetched again."""

import hashlib

import pytest

from falq.errors import DownloadError
from falq.fetching import salvage
from falq.files.spec import OutputSpec
from falq.phases import Phase
from falq.record import JobRecord
from falq.settings import Settings

BYTES = b"a picture"
UNREACHABLE = "http://cdn.example/a.png"


@pytest.fixture
def settings(tmp_path):
    return Settings.from_env({"FALQ_HOME": str(tmp_path / "home"), "FAL_KEY": "a:b"})


@pytest.fixture
def saved(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.png").write_bytes(BYTES)
    return tmp_path / "out/a.png"


def done(path):
    output = OutputSpec(directory=str(path.parent))
    told = {
        "path": str(path), "url": UNREACHABLE, "content_type": "image/png",
        "bytes": len(BYTES), "sha256": hashlib.sha256(BYTES).hexdigest(),
    }  # fmt: skip
    return JobRecord(
        job_id="j", model_id="a/b", request_id="r", phase=Phase.DONE,
        result={"image": {"url": UNREACHABLE}}, options={"output": output.to_dict()},
        outcome={"status": "COMPLETED", "files": [told], "saved_path": str(path)},
    )  # fmt: skip


def salvaged(settings, path):
    return salvage(settings, done(path), OutputSpec(directory=str(path.parent)), None)


def test_a_file_that_is_as_it_was_is_vouched_for(settings, saved):
    assert salvaged(settings, saved)["saved_path"] == str(saved)


@pytest.mark.parametrize("change", ["gone", "shorter", "other", "link", "directory"])
def test_a_file_that_is_not_what_was_saved_is_fetched_again(settings, saved, tmp_path, change):
    saved.rename(tmp_path / "elsewhere")
    if change == "shorter":
        saved.write_bytes(BYTES[:-1])
    elif change == "other":
        saved.write_bytes(BYTES[::-1])
    elif change == "link":
        saved.symlink_to(tmp_path / "elsewhere")
    elif change == "directory":
        saved.mkdir()
    with pytest.raises(DownloadError, match="refused to fetch"):
        salvaged(settings, saved)
