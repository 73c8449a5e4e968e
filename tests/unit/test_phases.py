import re

import pytest

from falq.phases import ACTIVE, REOPEN, TERMINAL, TRANSITIONS, Phase, allowed_from, reopenable_from
from falq.scripts import packaged

SCRIPTS = (
    "account", "acquire", "admit", "advance", "cancel", "enqueue", "jobs", "reap", "reopen",
    "take_in", "vanish",
)  # fmt: skip


def test_every_phase_has_its_row():
    assert set(TRANSITIONS) == set(Phase)


@pytest.mark.parametrize("phase", sorted(TERMINAL))
def test_an_end_is_final_unless_somebody_asks(phase):
    assert TRANSITIONS[phase] == frozenset()


def test_every_phase_is_reached_from_the_queue():
    reached, new = set(), {Phase.QUEUED}
    while new:
        reached |= new
        new = set().union(*(TRANSITIONS[phase] for phase in new)) - reached
    assert reached == set(Phase)


def test_from_every_phase_that_is_no_end_an_end_is_reached():
    for phase in set(Phase) - TERMINAL - {Phase.UNKNOWN}:
        assert TRANSITIONS[phase] & TERMINAL
    assert REOPEN[Phase.UNKNOWN] & TERMINAL


def test_only_a_proof_that_nothing_was_sent_leads_back_to_the_queue():
    assert allowed_from(Phase.QUEUED) == {Phase.SUBMITTING}


def test_an_intent_is_written_from_the_queue_alone():
    assert allowed_from(Phase.SUBMITTING) == {Phase.QUEUED, Phase.SUBMITTING}


def test_an_active_phase_may_be_written_again():
    for phase in Phase:
        assert (phase in allowed_from(phase)) == (phase in ACTIVE)


def test_reopening_leads_nowhere_that_costs_money_unasked():
    for phase, targets in REOPEN.items():
        assert phase in TERMINAL | {Phase.UNKNOWN}
        assert targets <= {Phase.QUEUED, *ACTIVE, Phase.FAILED}
    assert Phase.DONE not in reopenable_from(Phase.QUEUED)


def test_scripts_name_no_phase_that_is_not_in_the_table():
    compared = re.compile(r"(?:phase|to|j\[1\]) [~=]= '(\w+)'")
    written = re.compile(r"(?:HSET', .*'phase', |finish\(id, q, )'(\w+)'")
    named = {
        name
        for script in SCRIPTS
        for pattern in (compared, written)
        for name in pattern.findall(packaged(script))
    }
    assert named <= set(Phase)
    assert {"queued", *ACTIVE, *TERMINAL, "unknown"} <= named


def test_the_script_that_admits_adopts_in_active_phases_only():
    adopting = packaged("admit").partition("local active")[2].partition("if not active")[0]
    assert set(re.findall(r"'(\w+)'", adopting)) == ACTIVE
