"""Work in steps: a batch waits for the disk together, and each piece comes to its own outcome."""

from falq.files.output import OutputDirectory
from falq.files.steps import finish, in_step


def _work(log, name, *, fail=False):
    log.append(f"{name} begun")
    yield
    if fail:
        raise ValueError(name)
    log.append(f"{name} synced")
    yield
    return name


def test_each_step_is_done_by_all_before_the_next():
    log = []
    assert in_step([_work(log, "a"), _work(log, "b")]) == ["a", "b"]
    assert log == ["a begun", "b begun", "a synced", "b synced"]


def test_one_that_fails_ends_alone():
    log = []
    failed, done = in_step([_work(log, "a", fail=True), _work(log, "b")])
    assert isinstance(failed, ValueError)
    assert done == "b"


def test_one_piece_alone_is_done_at_once():
    assert finish(_work([], "a")) == "a"
    assert in_step([]) == []


def test_equal_names_of_a_batch_are_given_once(tmp_path):
    with OutputDirectory.open(str(tmp_path)) as folder:
        saved = in_step(
            [folder.saving(data, f"job-{data}", ["a.json", "b.json"]) for data in (b"1", b"2")]
        )
    assert [each.name for each in saved] == ["a.json", "b.json"]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "a.json": b"1",
        "b.json": b"2",
    }
