"""What the doctor makes of what was found: a verdict and what to do about it; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a thing stands. Only TROUBLE keeps falq from working."""

    OK = "ok"
    NOTE = "note"
    TROUBLE = "trouble"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        found: What is there.
        advice: What to do; empty where nothing is to be done.
        exit_code: Of the doctor, if this is the first trouble.
    """

    name: str
    verdict: Verdict
    found: str
    advice: str = ""
    exit_code: int = 0


#: Releases of each series that closed a hole through which a script took the server over
#: (CVE-2025-49844); a series without an entry and older than these has none.
_PATCHED = {
    "redis": ((6, 2, 20), (7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2)),
    "valkey": ((7, 2, 11), (8, 0, 6), (8, 1, 4)),
}
#: Below this a download or a journal soon fails; a warning well before, bytes.
_DISK_TROUBLE_BYTES = 16 * 1024 * 1024
_DISK_NOTE_BYTES = 1024 * 1024 * 1024
#: Waits and ages of jobs are shown with the machine's own clock, seconds.
_CLOCK_NOTE_S = 2.0


def ok(name: str, found: str) -> Finding:
    """Give a finding without trouble."""
    return Finding(name=name, verdict=Verdict.OK, found=found)


def note(name: str, found: str, advice: str) -> Finding:
    """Give a finding that works and could be better."""
    return Finding(name=name, verdict=Verdict.NOTE, found=found, advice=advice)


def trouble(name: str, found: str, advice: str, exit_code: int) -> Finding:
    """Give a finding that keeps falq from working."""
    return Finding(
        name=name, verdict=Verdict.TROUBLE, found=found, advice=advice, exit_code=exit_code
    )


def about_version(product: str, version: str | None) -> Finding:
    """Judge a server's version.

    >>> about_version("redis", "7.2.4").verdict, about_version("valkey", "9.1.2").verdict
    (<Verdict.NOTE: 'note'>, <Verdict.OK: 'ok'>)
    """
    if version is None:
        return note("version", f"{product}, version unknown", "let us read INFO to check it")
    numbers = _numbers(version)
    if numbers < (7, 0, 0):
        advice = f"{product} 7 or newer has what falq's scripts need"
        return trouble("version", f"{product} {version} is too old", advice, 2)
    if _is_patched(product, numbers):
        return ok("version", f"{product} {version}")
    advice = "upgrade: who may run scripts there can take the server over (CVE-2025-49844)"
    return note("version", f"{product} {version} has a known hole", advice)


def _numbers(version: str) -> tuple[int, ...]:
    parts = [*version.partition("-")[0].split("."), "0", "0"][:3]
    return tuple(int(part) if part.isdigit() else 0 for part in parts)


def _is_patched(product: str, numbers: tuple[int, ...]) -> bool:
    known = _PATCHED.get(product, ())
    series = [patched for patched in known if patched[:2] == numbers[:2]]
    if series:
        return numbers >= series[0]
    return not known or numbers > max(known)


def about_persistence(
    aof: bool | None, appendfsync: str | None, replicas: int | None = None
) -> Finding:
    """Judge how much of the journal survives a fall of the server.

    >>> about_persistence(True, "always").found
    'every write is on the disk before it counts'
    """
    if aof is None:
        return note("persistence", "unknown: we may not ask", "see that appendonly is yes there")
    if not aof:
        advice = "CONFIG SET appendonly yes: without it a restart forgets what was paid for"
        beside = f"{replicas} replica(s) know it all" if replicas else "and there is no replica"
        return note("persistence", f"no append-only file, {beside}", advice)
    if appendfsync is None:
        return note(
            "persistence", "append-only file; how often it is forced to the disk we may not ask",
            "see that appendfsync is always there, or that there is a replica",
        )  # fmt: skip
    if appendfsync == "always":
        return ok("persistence", "every write is on the disk before it counts")
    if replicas:
        return ok("persistence", f"append-only file, appendfsync {appendfsync}, and a replica")
    found = f"append-only file, appendfsync {appendfsync}"
    advice = "appendfsync always, or a replica: else a second of the journal may be lost"
    return note("persistence", found, advice)


def about_eviction(policy: str | None) -> Finding:
    """Judge what the server does when it is full."""
    if policy is None:
        return note("eviction", "unknown: we may not ask", "it has to be noeviction")
    if policy == "noeviction":
        return ok("eviction", policy)
    advice = "CONFIG SET maxmemory-policy noeviction; workers refuse to start with this one"
    return trouble("eviction", f"{policy}: a full server deletes jobs", advice, 2)


def about_clock(difference_s: float | None) -> Finding:
    """Judge the difference between the server's clock and ours.

    >>> about_clock(0.01).found
    'differs by 0.0 s from that of Redis'
    """
    if difference_s is None:
        return note("clock", "unknown: we may not ask", "keep clocks in step (NTP)")
    found = f"differs by {abs(difference_s):.1f} s from that of Redis"
    if abs(difference_s) <= _CLOCK_NOTE_S:
        return ok("clock", found)
    advice = "set it by NTP; limits go by the clock of Redis and hold all the same"
    return note("clock", found, advice)


def about_disk(name: str, path: str, free_bytes: int) -> Finding:
    """Judge the room on a disk."""
    found = f"{free_bytes / 2**30:.1f} GiB free at {path}"
    if free_bytes < _DISK_TROUBLE_BYTES:
        return trouble(name, found, "free some space: nothing can be written", 7)
    if free_bytes < _DISK_NOTE_BYTES:
        return note(name, found, "free some space soon")
    return ok(name, found)


def about_workers(
    workers: Sequence[Mapping[str, str]], account: str, version: str, *, embedded: bool
) -> Finding:
    """Judge who does the jobs of an account; '' asks for any worker."""
    ours = [each for each in workers if not account or each.get("account") == account]
    if not ours:
        elsewhere = f"; {len(workers)} serve other accounts" if workers else ""
        if embedded:
            return ok("workers", f"none now{elsewhere}; a call starts one by itself")
        advice = "falq worker, on a machine with this key: until then jobs wait"
        return note("workers", f"none serves this account{elsewhere}", advice)
    shown = ", ".join(f"{each['name']} (falq {each.get('version', '?')})" for each in ours)
    others = sorted({each.get("version", "?") for each in ours} - {version})
    if others:
        advice = f"this is falq {version}: restart the workers one by one after an upgrade"
        return note("workers", shown, advice)
    return ok("workers", shown)


def about_unknown(count: int) -> Finding:
    """Judge jobs that wait for a person's decision."""
    if not count:
        return ok("unknown jobs", "none")
    advice = "falq jobs --unknown lists them; falq resolve JOB decides"
    return note("unknown jobs", f"{count} were sent and never heard of again", advice)


def exit_code(findings: Sequence[Finding]) -> int:
    """Give the exit code: that of the first trouble, or 0."""
    return next((each.exit_code for each in findings if each.verdict is Verdict.TROUBLE), 0)
