"""The life of messages among workers that freeze, die and come back, as a machine that Hypothesis drives.

Each action lets production's classes do one step on real tables, tells the model the same, and compares what the step
returned; after each step the tables are compared as a whole.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.chaos.lifecycle.living import Living
from tests.chaos.lifecycle.process import ENDS, WAIT_S
from tests.chaos.lifecycle.sending import Sending
from tests.chaos.lifecycle.stage import IDLE, JUMP_S, QUEUES, SERVED, Stage
from tests.chaos.lifecycle.tables import SLIP_MAX_S

WHO = st.integers(0, len(SERVED) - 1)
WHICH = st.integers(0, 50)
QUEUE = st.sampled_from(QUEUES)
PRIORITY = st.sampled_from((0, 0, 5))
DELAY_S = st.sampled_from((0.0, 0.0, 0.0, WAIT_S, WAIT_S + JUMP_S))
KEY = st.sampled_from((None, None, "a", "b"))
HOWS = st.lists(st.sampled_from(tuple(ENDS)), min_size=1, max_size=4)
OFTEN = st.sampled_from((True, True, True, False))
#: What can happen: how often in comparison, and with what. A method of the machine each.
ACTIONS: dict[str, tuple[int, tuple[st.SearchStrategy[Any], ...]]] = {
    "send": (4, (QUEUE, PRIORITY, st.lists(KEY, min_size=1, max_size=3), DELAY_S)),
    "send_again": (1, (WHICH,)),
    "send_in": (2, (WHICH, QUEUE, PRIORITY, KEY, DELAY_S)),
    "end_transaction": (1, (WHICH, st.booleans())),
    "claim": (12, (WHO, st.integers(1, 5), st.booleans(), OFTEN, st.booleans())),
    "claim_alone": (4, (WHO,)),
    "end_turn_alone": (2, ()),
    "run": (14, (WHICH, HOWS, KEY, st.booleans(), st.booleans())),
    "write": (8, (WHICH,)),
    "enter_completion": (5, (WHICH,)),
    "leave_completion": (5, (WHICH, OFTEN)),
    "reclaim": (2, (WHO,)),
    "live": (5, (WHO,)),
    "live_alone": (3, (WHO,)),
    "let_time_pass": (4, (st.integers(1, 3),)),
    "crash": (3, (WHO,)),
    "disturb": (4, (WHO, st.sampled_from(("silent", "unlocked", "both", "forgotten", "killed")))),
    "stop": (2, (WHO,)),
    "pause": (1, (QUEUE, st.sampled_from((WAIT_S, WAIT_S, None)))),
    "resume": (3, ()),
    "discard": (1, (QUEUE,)),
    "revive": (2, (WHICH,)),
    "cancel": (5, (WHICH,)),
}
ACTION = st.sampled_from([name for name, (weight, _) in ACTIONS.items() for _ in range(weight)]).flatmap(
    lambda name: st.tuples(st.just(name), *ACTIONS[name][1])
)
#: A run without some of these gets further with the others.
QUIET = st.sets(st.sampled_from(("disturb", "crash", "stop", "pause", "discard", "cancel", "live_alone", "send_in")))
#: What is done in place of an action that found nothing to act on, so that messages get on with their lives.
PLAIN_LIFE = (
    ("leave_completion", (0, True)),
    ("enter_completion", (0,)),
    ("claim", (0, 2, True, True, True)),
    ("send", ("emails", 0, [None, None], 0.0)),
)


class Lifecycle(Sending, Living, RuleBasedStateMachine):
    """Messages, workers and operators."""

    def __init__(self, url: str, counts: Counter[str]) -> None:
        RuleBasedStateMachine.__init__(self)
        Stage.__init__(self, url, counts)

    @invariant()
    def the_tables_are_as_they_must_be(self) -> None:
        if self.has_acted and not self.is_over:
            self.tables.check(self.model)

    @initialize(quiet=QUIET, begins=st.sampled_from(("empty", "after losses", "after a freeze")))
    def begin_run(self, quiet: set[str], begins: str) -> None:
        """Begin where random actions come rarely: with messages that lost two workers, or with leases that are lost."""
        self.quiet = quiet
        if begins != "empty":
            self.send("emails", 0, [None, "a"], 0.0)
            self.claim(0, 2, True, True, True)
            self.live_alone(1)
        if begins == "after losses":
            self.claim(1, 2, True, True, True)
            self.live_alone(2)

    @rule(action=ACTION)
    def act(self, action: tuple[Any, ...]) -> None:
        name, *drawn = action
        # A run that a slow machine has drawn out ends without a comparison.
        self.is_over = self.is_over or time.monotonic() - self.begun_clock > SLIP_MAX_S
        if self.is_over:
            self.has_acted = False
        elif name in self.quiet or getattr(self, name)(*drawn) is IDLE:
            name = next(name for name, drawn in PLAIN_LIFE if getattr(self, name)(*drawn) is not IDLE)
        self.counts["steps"] += self.has_acted
        self.counts[name] += self.has_acted
