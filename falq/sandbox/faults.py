"""The faults that the sandbox can show, as a table, and the book of scripted ones.

A fault comes from a model id (``sandbox/fault/hang``), from the header ``X-Sandbox-Fault``, from
the argument ``sandbox_fault`` or from a rule that somebody scripted. Where it acts follows from
its name, unless a rule names the operation.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from falq.sandbox.catalogue import FAULT_SEGMENT

#: Operations that cost money at fal.
PAID = frozenset({"submit", "run"})
POLLS = frozenset({"status", "stream"})
OPERATIONS = PAID | POLLS | {"result", "cancel", "history", "cdn", "upload", "models", "pricing"}

_NEVER = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class FaultKind:
    """What a fault's name means.

    Attributes:
        ops: Where it acts by itself.
        wire: True if it replaces or spoils the reply; else it changes what the reply says.
        registers: True if a paid request is taken before the reply goes wrong.
        main: The parameter that ``name:value`` sets.
        times: How often it shows by itself for one request.
    """

    ops: frozenset[str]
    wire: bool = False
    registers: bool = False
    main: str = "times"
    times: int = _NEVER


def _wire(*, registers: bool = False, main: str = "times") -> FaultKind:
    return FaultKind(ops=PAID, wire=True, registers=registers, main=main)


def _life(*ops: str, main: str = "times", times: int = _NEVER) -> FaultKind:
    return FaultKind(ops=frozenset(ops) or PAID, main=main, times=times)


KINDS: Mapping[str, FaultKind] = {
    "hang": _wire(registers=True),
    "hang-unregistered": _wire(),
    "drop-registered": _wire(registers=True),
    "drop": _wire(),
    "429": _wire(main="retry_after"),
    "html-502": _wire(),
    "html-502-registered": _wire(registers=True),
    "garbage": _wire(registers=True),
    "truncated": _wire(registers=True),
    "slow-loris": _wire(registers=True, main="interval_s"),
    "422": _life(),
    "content-policy": _life(),
    "back-to-queue": _life(),
    "completed-with-error": _life(main="error_type"),
    "cancel-ignored": _life(),
    "missing-fields": _life("submit", "status", "stream"),
    "unknown-status": _life("status", "stream", times=3),
    "foreign-urls": _life("submit", "status", "stream", main="origin"),
    "response-suffix": _life("submit", "status", "stream"),
    "result-gone": FaultKind(ops=frozenset({"result"}), wire=True),
    "history-late": _life("history", main="seconds"),
    "history-no-running": _life("history"),
    "cdn-404": _life("cdn"),
    "cdn-500-then-ok": _life("cdn"),
    "cdn-truncated": _life("cdn"),
    "cdn-slow-loris": _life("cdn", main="interval_s"),
    "cdn-hang": _life("cdn"),
    "cdn-redirect-loop": _life("cdn"),
    "cdn-redirect-to": _life("cdn", main="url"),
    "cdn-size": _life("cdn", main="bytes"),
    "cdn-gzip-bomb": _life("cdn", main="bytes"),
    "cdn-wrong-type": _life("cdn"),
    "data-uri": _life(),
    "audio-url": _life(),
    "nested": _life(),
    "eight-images": _life(),
    "hostile-name": _life(),
    "file-url": _life(),
    "private-url": _life(main="url"),
}

_CODE = re.compile(r"([45]\d\d)(-registered)?")
_OP_CODE = re.compile(r"(submit|run|status|stream|result|cancel|history|upload|models)-([45]\w\w)")
#: Polls of one request that a passing ``status-500`` spoils before it answers again.
_PASSING_POLLS = 3


def find_kind(name: str) -> FaultKind | None:
    """Find what a name means; every HTTP code is a name (``503``, ``status-405``)."""
    if name in KINDS:
        return KINDS[name]
    if code := _CODE.fullmatch(name):
        return _wire(registers=bool(code[2]))
    if code := _OP_CODE.fullmatch(name):
        ops = POLLS if code[1] == "status" else frozenset({code[1]})
        passing = code[1] == "status" and code[2] != "405"
        return FaultKind(ops=ops, wire=True, times=_PASSING_POLLS if passing else _NEVER)
    return None


def status_code(name: str) -> int | None:
    """Read the HTTP status that a fault's name holds.

    >>> status_code("history-5xx"), status_code("503-registered"), status_code("hang")
    (503, 503, None)
    """
    found = re.search(r"(?:^|-)([45])(\d\d|xx)(?:-|$)", name)
    if found is None:
        return None
    return int(found[1] + ("03" if found[2] == "xx" else found[2]))


@dataclass(frozen=True)
class Fault:
    """One fault that somebody asked for; ``op`` is set if a rule said where it acts."""

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    op: str | None = None

    @property
    def kind(self) -> FaultKind:
        """What the name means."""
        return KINDS.get(self.name) or find_kind(self.name) or _wire()

    def acts_at(self, op: str) -> bool:
        """Tell whether it acts at an operation."""
        return op == self.op if self.op else op in self.kind.ops

    def number(self, name: str, default: float) -> float:
        """Read a parameter that is a number."""
        return float(self.params.get(name, default))

    @property
    def times(self) -> int:
        """How often it shows for one request."""
        return int(self.params.get("times", self.kind.times))


def make_fault(name: str, params: Mapping[str, Any] | None = None, op: str | None = None) -> Fault:
    """Check a fault's name and read ``name:value``.

    Raises:
        ValueError: No fault has this name.
    """
    word, _, value = name.strip().partition(":")
    if op == "cdn" and f"cdn-{word}" in KINDS:
        word = f"cdn-{word}"
    kind = find_kind(word)
    if kind is None:
        raise ValueError(f"unknown fault {word!r}; known: {', '.join(KINDS)}, any 4xx or 5xx")
    given = {kind.main: value} if value else {}
    return Fault(word, {**given, **(params or {})}, op)


def aim(fault: Fault, op: str) -> Fault:
    """Let a fault of the wire act at the request that carries it, whatever that request does."""
    free = fault.kind.wire and fault.kind.ops == PAID
    return Fault(fault.name, fault.params, op) if free else fault


def parse_faults(line: str) -> list[Fault]:
    """Read the header's form: ``hang, history-late:3`` or ``429;retry_after=2``.

    Raises:
        ValueError: No fault has such a name.
    """
    return [_parse(part) for part in line.split(",") if part.strip()]


def _parse(part: str) -> Fault:
    name, *pairs = (piece.strip() for piece in part.split(";"))
    return make_fault(name, dict(pair.split("=", 1) for pair in pairs if "=" in pair))


def faults_of_id(model_id: str) -> list[Fault]:
    """Read the faults that a model id asks for.

    A segment that is a number belongs to the fault before it if that one takes a value:
    ``sandbox/fault/429/2``, ``sandbox/fault/hang/history-late/3``.

    Raises:
        ValueError: No fault has such a name.
    """
    found: list[Fault] = []
    for segment in filter(None, model_id.partition(FAULT_SEGMENT)[2].split("/")):
        last = found[-1] if found else None
        if last and not last.params and (last.kind.main != "times" or find_kind(segment) is None):
            found[-1] = make_fault(f"{last.name}:{segment}")
        else:
            found.append(make_fault(segment))
    return found


@dataclass(kw_only=True)
class Rule:
    """A scripted fault: for which calls, and how many of them are left (None = all)."""

    fault: Fault
    model_id: str = "*"
    op: str | None = None
    times: int | None = None

    def matches(self, op: str, model_id: str) -> bool:
        """Tell whether it acts at this operation of this model."""
        hit = self.model_id in ("*", model_id) or model_id.startswith(f"{self.model_id}/")
        return hit and self.times != 0 and self.fault.acts_at(op)


class FaultBook:
    """The scripted faults, in the order in which they were added."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []

    def add(
        self,
        fault: str,
        *,
        model_id: str = "*",
        op: str | None = None,
        times: int | None = None,
        **params: Any,
    ) -> Rule:
        """Script a fault.

        Raises:
            ValueError: The fault or the operation has no such name.
        """
        if op is not None and op not in OPERATIONS:
            raise ValueError(f"unknown op {op!r}; known: {', '.join(sorted(OPERATIONS))}")
        made = make_fault(fault, {"times": _NEVER, **params}, op)
        rule = Rule(fault=made, model_id=model_id, op=op, times=times)
        self.rules.append(rule)
        return rule

    def clear(self) -> None:
        """Forget every scripted fault."""
        self.rules.clear()

    def take(self, op: str, model_id: str) -> list[Fault]:
        """List the faults for one call, one wire fault at most, and count them as used."""
        taken: list[Fault] = []
        for rule in self.rules:
            spoiled = any(fault.kind.wire for fault in taken) and rule.fault.kind.wire
            if rule.matches(op, model_id) and not spoiled:
                rule.times = rule.times and rule.times - 1
                taken.append(rule.fault)
        return taken


def find_wire(faults: Iterable[Fault], op: str, uses: Counter[str]) -> Fault | None:
    """Find the fault that spoils this reply and count it as shown."""
    for fault in faults:
        if fault.kind.wire and fault.acts_at(op) and uses[fault.name] < fault.times:
            uses[fault.name] += 1
            return fault
    return None


def find_view(faults: Iterable[Fault], name: str, uses: Counter[str]) -> Fault | None:
    """Find a fault by name among those that change what a reply says, and count it as shown."""
    for fault in faults:
        if fault.name == name and uses[name] < fault.times:
            uses[name] += 1
            return fault
    return None
