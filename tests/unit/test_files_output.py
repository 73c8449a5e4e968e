"""The directory that files are saved to."""

import errno
import os
import threading

import pytest

from falq.errors import OutputError, UsageError
from falq.files import output as output_module
from falq.files import partial as partial_module
from falq.files.output import OutputDirectory, check_output_file, ensure_writable


@pytest.fixture
def folder(tmp_path):
    with OutputDirectory.open(str(tmp_path / "out")) as directory:
        yield directory


def names(folder):
    return folder.names()


def save(folder, data, *wanted, replaceable=lambda name: False):
    return folder.save(data, "label", wanted, replaceable).name


def test_a_file_appears_whole_under_its_name(folder, tmp_path):
    part = folder.partial("cat")
    part.write(b"half")
    assert names(folder) == [".falq-cat.part"]
    part.discard()
    assert save(folder, b"whole", "cat.png") == "cat.png"
    assert names(folder) == ["cat.png"]
    assert (tmp_path / "out/cat.png").read_bytes() == b"whole"


def test_nothing_is_left_of_a_file_that_is_given_up(folder):
    part = folder.partial("cat")
    part.write(b"half")
    part.discard()
    part.discard()
    assert names(folder) == []


def test_a_taken_name_is_never_overwritten(folder, tmp_path):
    save(folder, b"first", "cat.png")
    assert save(folder, b"second", "cat.png", "cat-2.png") == "cat-2.png"
    assert (tmp_path / "out/cat.png").read_bytes() == b"first"


def test_the_same_bytes_under_the_same_name_are_the_same_file(folder):
    save(folder, b"same", "cat.png")
    assert save(folder, b"same", "cat.png", "cat-2.png") == "cat.png"
    assert names(folder) == ["cat.png"]


def test_a_file_that_may_be_replaced_is(folder, tmp_path):
    save(folder, b"first", "cat.png")
    assert save(folder, b"second", "cat.png", replaceable=lambda name: True) == "cat.png"
    assert (tmp_path / "out/cat.png").read_bytes() == b"second"


@pytest.mark.parametrize("kind", ["symlink", "dangling", "directory", "fifo"])
def test_what_is_no_regular_file_keeps_its_name_and_its_target(folder, tmp_path, kind):
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    target = tmp_path / "out" / "cat.png"
    {
        "symlink": lambda: target.symlink_to(outside),
        "dangling": lambda: target.symlink_to(tmp_path / "nowhere"),
        "directory": target.mkdir,
        "fifo": lambda: os.mkfifo(target),
    }[kind]()
    kept = save(folder, b"x", "cat.png", "cat-2.png", replaceable=lambda name: True)
    assert kept == ("cat-2.png")
    assert outside.read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()


def test_no_free_name_is_an_error_that_leaves_nothing_behind(folder):
    save(folder, b"first", "cat.png")
    with pytest.raises(OutputError):
        save(folder, b"second", "cat.png")
    assert names(folder) == ["cat.png"]


def test_a_file_system_without_hard_links_serves_as_well(folder, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(output_module.os, "link", refuse)
    assert save(folder, b"first", "cat.png", "cat-2.png") == "cat.png"
    assert save(folder, b"second", "cat.png", "cat-2.png") == "cat-2.png"
    assert (tmp_path / "out/cat.png").read_bytes() == b"first"
    assert names(folder) == ["cat-2.png", "cat.png"]


@pytest.mark.parametrize(
    ("code", "word"),
    [(errno.ENOSPC, "disk full on "), (errno.EDQUOT, "quota"), (errno.EROFS, "read-only")],
)
def test_disk_trouble_has_a_name_and_leaves_nothing_behind(folder, monkeypatch, code, word):
    def refuse(*args):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(partial_module.os, "write", refuse)
        with pytest.raises(OutputError, match=word) as error:
            save(folder, b"x", "cat.png")
    assert error.value.exit_code == 7
    assert names(folder) == []


def test_the_directory_that_was_opened_is_written_to_whatever_takes_its_path(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    with OutputDirectory.open(str(tmp_path / "out")) as folder:
        (tmp_path / "out").rename(tmp_path / "moved")
        (tmp_path / "out").symlink_to(outside)
        save(folder, b"x", "cat.png")
    assert list(outside.iterdir()) == []
    assert (tmp_path / "moved/cat.png").read_bytes() == b"x"


def test_a_symbolic_link_below_the_directory_is_not_followed(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out/sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError):
        folder.below("sub")
    with folder.below("plain") as below:
        save(below, b"x", "cat.png")
    assert (tmp_path / "out/plain/cat.png").exists()


def test_what_a_killed_writer_left_is_replaced(folder, tmp_path):
    (tmp_path / "out/.falq-cat.part").write_bytes(b"torn")
    part = folder.partial("cat")
    assert part.name == ".falq-cat.part"
    assert names(folder) == [".falq-cat.part"]
    assert (tmp_path / "out/.falq-cat.part").read_bytes() == b""
    part.discard()


@pytest.mark.parametrize("name", [".cat.part", ".log.part", ".cat.png.json.part", ".result.part"])
def test_a_strangers_hidden_file_is_left_alone(folder, tmp_path, name):
    (tmp_path / "out" / name).write_bytes(b"precious")
    save(folder, b"x", "cat.png")
    folder.partial(name.strip(".").removesuffix(".part")).discard()
    assert (tmp_path / "out" / name).read_bytes() == b"precious"


def test_without_locks_nothing_is_taken_for_abandoned(folder, monkeypatch):
    def no_locks(*args):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(partial_module.fcntl, "flock", no_locks)
    one, other = folder.partial("cat"), folder.partial("cat")
    one.write(b"1")
    other.write(b"2")
    assert folder.keep(one, ["cat.png"]) == "cat.png"
    assert folder.keep(other, ["cat.png", "cat-2.png"]) == "cat-2.png"


def test_two_living_writers_of_one_label_do_not_meet(folder):
    one, other = folder.partial("cat"), folder.partial("cat")
    one.write(b"1")
    other.write(b"2")
    assert one.name != other.name
    assert folder.keep(one, ["cat.png"]) == "cat.png"
    assert folder.keep(other, ["cat.png", "cat-2.png"]) == "cat-2.png"
    assert names(folder) == ["cat-2.png", "cat.png"]


def test_many_writers_of_one_name_lose_nothing(tmp_path):
    kept = []

    def write(number):
        with OutputDirectory.open(str(tmp_path)) as folder:
            wanted = ["cat.png", *(f"cat-{n}.png" for n in range(2, 20))]
            kept.append(folder.save(f"{number}".encode(), "cat", wanted).name)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(kept)) == 8
    assert {(tmp_path / name).read_text() for name in kept} == {str(n) for n in range(8)}
    assert {path.name for path in tmp_path.iterdir()} == set(kept)


def test_a_discarded_file_takes_no_more_bytes(folder):
    part = folder.partial("cat")
    part.discard()
    with pytest.raises(ValueError, match="closed"):
        part.write(b"late")


def test_reading_looks_at_small_regular_files_only(folder, tmp_path):
    save(folder, b"12345", "a")
    os.mkfifo(tmp_path / "out/pipe")
    (tmp_path / "out/link").symlink_to(tmp_path / "out/a")
    assert folder.read("a", 5) == b"12345"
    assert folder.read("a", 4) is None
    assert folder.read("pipe", 5) is folder.read("link", 5) is folder.read("none", 5) is None
    assert folder.digest("pipe") is folder.digest("link") is None


def test_an_output_directory_is_checked_before_anything_is_sent(tmp_path, monkeypatch):
    assert ensure_writable(str(tmp_path / "a/b")) == str(tmp_path / "a/b")
    assert list((tmp_path / "a/b").iterdir()) == []
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file/sub"):
        with pytest.raises(UsageError) as error:
            ensure_writable(str(path))
        assert error.value.exit_code == 2
    monkeypatch.chdir(tmp_path)
    assert ensure_writable("./a/../out") == str(tmp_path / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_directory_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="permission denied"):
        ensure_writable(str(tmp_path))


def test_an_output_directory_behind_a_symbolic_link_keeps_the_callers_path(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    with OutputDirectory.open(str(tmp_path / "out")) as folder:
        save(folder, b"x", "cat.png")
        assert folder.path == str(tmp_path / "out")
    assert (tmp_path / "disk/cat.png").exists()


def test_the_place_of_an_output_file_is_checked_before_anything_is_sent(tmp_path):
    (tmp_path / "dir.png").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "plain.png").write_text("x")
    check_output_file(str(tmp_path), "plain.png")
    check_output_file(str(tmp_path), "new/cat.png")
    for relative in ("dir.png", "link.png", "plain.png/cat.png"):
        with pytest.raises(UsageError):
            check_output_file(str(tmp_path), relative)
