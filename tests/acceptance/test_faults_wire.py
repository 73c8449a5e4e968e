"""The fault table, rows of the wire: what each fault costs, saves and says, in both modes."""

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import pytest
from world import Home, Run, paid, posts_of

from falq.sandbox import RunningSandbox

SYNC, QUEUE = "--sync-only", "--no-sync-only"
#: Loses replies, and its history answers nothing (``cases`` scripts that).
SILENT_HISTORY = "drop-registered/9"
#: Are taken, but seem not to be; their history knows nothing of them (404).
NO_HISTORY = ("503-registered/9", "405-registered/9", "html-502-registered/9")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fault and what must come of it.

    ``posts`` and ``paid`` count at the sandbox; ``error`` is the type of the error.
    """

    name: str
    mode: str
    code: int
    posts: int = 1
    paid: int = 1
    model: str = ""
    error: str | None = None
    says: str = ""
    recovered: bool | None = None
    retryable: bool | None = None
    may_be_billed: bool | None = None
    arguments: tuple[tuple[str, Any], ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.name} {self.mode}"

    @property
    def model_id(self) -> str:
        return self.model or f"sandbox/fault/{self.name}"


def both(name: str, **expected: Any) -> list[Case]:
    return [Case(name=name, mode=mode, **expected) for mode in (SYNC, QUEUE)]


def recovered(name: str, **more: Any) -> list[Case]:
    return both(name, code=0, recovered=True, **more)


def unknown(name: str, *, taken: int = 0) -> list[Case]:
    return both(
        name, code=6, paid=taken, error="UnknownOutcomeError", says="unknown", retryable=False,
        may_be_billed=True,
    )  # fmt: skip


CASES = [
    # Accepted, but nobody told us.
    *recovered("hang"),
    *recovered("drop-registered"),
    *recovered("garbage"),
    *recovered("truncated"),
    *recovered("slow-loris"),
    *recovered("405-registered"),
    *recovered("500-registered"),
    *recovered("503-registered"),
    *recovered("504-registered"),
    *recovered("html-502-registered"),
    *recovered("drop-registered/history-late/0.5"),
    # Nobody can tell: never sent again.
    *unknown("hang-unregistered"),
    *unknown("drop"),
    *unknown("504"),
    *unknown("408"),
    *unknown("409"),
    *unknown(SILENT_HISTORY, taken=1),
    *(case for name in NO_HISTORY for case in unknown(name, taken=1)),
    # Proved absent: 5xx three times at most.
    *both("503", code=5, posts=3, paid=0, error="NetworkError", retryable=True),
    *both("html-502", code=5, posts=3, paid=0, error="NetworkError", retryable=True),
    # A queue that answers 405 may be replaced by the sync API once; the sync API may not.
    Case(name="405", mode=QUEUE, code=5, posts=2, paid=0, error="NetworkError"),
    Case(name="405", mode=SYNC, code=5, posts=1, paid=0, error="NetworkError"),
    # Refused for good, in fal's words.
    *both("400", code=3, paid=0, error="ModelError", may_be_billed=False, retryable=False),
    *both("404", code=3, paid=0, error="ModelError", may_be_billed=False),
    # Taken, and failed by the model.
    *both("422", code=3, error="ModelError"),
    *both("content-policy", code=3, error="ContentPolicyError", may_be_billed=None),
    *both("completed-with-error", code=3, error="ModelError"),
    # While it is followed.
    *(
        Case(name=name, mode=QUEUE, code=0)
        for name in (
            "status-405", "status-500", "missing-fields", "unknown-status", "foreign-urls",
            "response-suffix", "back-to-queue",
        )
    ),
    Case(name="result-405", mode=QUEUE, code=0, recovered=True),
    Case(name="result-405/2", mode=QUEUE, code=0, recovered=False),
    Case(name="result-500/1", mode=QUEUE, code=0, recovered=False),
    Case(name="result-gone", mode=QUEUE, code=0, recovered=True),
    Case(name="result-500", mode=QUEUE, code=3, error="ModelError", says="500"),
    Case(name="status-405/result-405", mode=QUEUE, code=0, recovered=True),
]  # fmt: skip


class Cases:
    """Runs every case once, several at a time; tests wait for theirs."""

    def __init__(self, home: Home, pool: ThreadPoolExecutor, cases: list[Case]) -> None:
        self._home = home
        self._ran: dict[str, Future[Run]] = {
            case.id: pool.submit(self._run, case) for case in cases
        }

    def arguments(self, case: Case) -> dict[str, Any]:
        return {"prompt": f"case {case.id}", **dict(case.arguments)}

    def _run(self, case: Case) -> Run:
        out = self._home.root / "out" / case.id.replace("/", "_").replace(" ", "")
        return self._home.falq(
            "call", "-m", case.model_id, "-a", json.dumps(self.arguments(case)), "-o", str(out),
            case.mode, *case.flags,
        )  # fmt: skip

    def end(self) -> None:
        """Leave nothing running: a test process may have had only some of the cases to look at."""
        for ran in self._ran.values():
            ran.cancel()
        wait(self._ran.values())

    def result(self, case: Case) -> Run:
        return self._ran[case.id].result(100)

    def saved(self, case: Case) -> list[str]:
        out = self._home.root / "out" / case.id.replace("/", "_").replace(" ", "")
        return sorted(each.name for each in out.iterdir())


@pytest.fixture(scope="module")
def cases(shared: Home, pool: ThreadPoolExecutor, sandbox: RunningSandbox) -> Iterator[Cases]:
    sandbox.add_fault("history-5xx", model_id=f"sandbox/fault/{SILENT_HISTORY}")
    for name in NO_HISTORY:
        sandbox.add_fault("404", op="history", model_id=f"sandbox/fault/{name}")
    made = Cases(shared, pool, CASES)
    yield made
    made.end()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_fault_costs_one_post_and_is_told_in_plain_words(
    case: Case, cases: Cases, sandbox: RunningSandbox
) -> None:
    run = cases.result(case)
    posts = posts_of(sandbox, cases.arguments(case))
    assert run.code == case.code, (run.out, run.err)
    assert (len(posts), paid(posts)) == (case.posts, case.paid), run.err
    if case.code == 0:
        _is_complete(case, run, cases)
    else:
        _is_plain_failure(case, run, cases)


def _is_complete(case: Case, run: Run, cases: Cases) -> None:
    shown = run.json
    assert shown["status"] == "COMPLETED"
    assert shown["saved_paths"]
    if case.recovered is not None:
        assert shown["recovered"] is case.recovered
    assert not [name for name in cases.saved(case) if name.startswith(".")]


def _is_plain_failure(case: Case, run: Run, cases: Cases) -> None:
    error = run.error
    if case.error is not None:
        assert error["type"] == case.error, error
    assert case.says in error["message"]
    assert (error["job_id"], error["model_id"]) != (None, None)
    for name in ("retryable", "may_be_billed"):
        expected = getattr(case, name)
        assert expected is None or error[name] is expected, error
    assert run.err.count("error:") == 1
    assert cases.saved(case) == []


def test_the_key_is_in_no_file_that_all_this_left(shared: Home, cases: Cases) -> None:
    for case in CASES:
        cases.result(case)
    leaks = [name for name, text in shared.texts().items() if b"canary-secret" in text]
    assert leaks == []
    logs = {name: text for name, text in shared.texts().items() if name.startswith("home/logs")}
    assert logs
    assert not [name for name, text in logs.items() if b"Traceback" in text]
