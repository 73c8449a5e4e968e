"""What the roles of one sandbox share."""

from __future__ import annotations

from dataclasses import dataclass, field

from falq.sandbox.catalogue import Catalogue
from falq.sandbox.desk import Desk
from falq.sandbox.faults import FaultBook
from falq.sandbox.ledger import Ledger


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long requests wait and run, and how far back their logs reach, in seconds."""

    queue_s: float = 0.0
    run_s: float = 0.0
    log_window_s: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The state of one sandbox."""

    catalogue: Catalogue
    desk: Desk
    ledger: Ledger
    book: FaultBook = field(default_factory=FaultBook)
    pace: Pace = Pace()


def assemble(catalogue: Catalogue, pace: Pace, account_limit: int | None) -> Parts:
    """Put the state of a new sandbox together."""
    ledger = Ledger()
    desk = Desk(catalogue, ledger, account_limit)
    return Parts(catalogue=catalogue, desk=desk, ledger=ledger, pace=pace)
