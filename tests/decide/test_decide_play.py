"""A play of one service: everything that can happen to host, proxy and daemon, in any order, around the decisions.

The world (`stage`) knows the truth (processes, the proxy's table); the daemon sees only what it was told, late or never.
What must always hold (`promises`) is asserted at every turn; at the end the world calms down and everything must end well, woken by
nothing but the decisions' own `wake_at_s` and facts that change.
"""

import contextlib
from typing import Literal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from stage import NATURES, USUAL, Nature, Process, World, replace

from atoll.decide.before import needed
from atoll.decide.facts import exclusive
from atoll.decide.rollout import begin, supersede
from atoll.decide.steering import Word, steer
from atoll.decide.strategies import choose
from atoll.model.analysis import Outcome
from atoll.model.errors import Conflict
from atoll.model.spec import Before, Command, Health, Port, RolloutSpec, Route, ServiceSpec, Stop
from atoll.model.state import (
    ENDED,
    LIVE,
    Artifact,
    Author,
    JobState,
    Release,
)

ROLLOUTS = st.builds(
    RolloutSpec,
    strategy=st.sampled_from(["canary", "rolling", "header", "auto", "blue-green"]),
    on_no_data=st.sampled_from(["hold", "extend", "fail", "promote"]),
    on_inconclusive=st.sampled_from(["hold", "extend", "fail", "promote"]),
    countdown_s=st.sampled_from([0.0, 0.0, 20.0]),
    bake_s=st.just(60.0),
    deadline_s=st.just(30.0),
)
OUTCOMES = st.sampled_from([None, "pass", "pass", "fail", "inconclusive", "no data", "error"])


class Play(RuleBasedStateMachine):
    """Whatever happens, in any order; the daemon takes a turn after each event."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @initialize(nature=st.sampled_from(["good", "slow"]), replicas=st.integers(1, 3), overlap=st.booleans())
    def first(self, nature: Nature, replicas: int, overlap: bool) -> None:
        self._release(nature, replicas, overlap, True)
        self._begin("deploy", 1)
        for _ in range(60):
            self.world.move(self.world.now_s + 0.5)
            self.world.turn()
            self.world.acknowledge()
        assert self.world.intent.target == 1

    def _release(
        self,
        nature: Nature,
        replicas: int,
        overlap: bool,
        ports: bool,
        rollout: RolloutSpec = USUAL,
        before: bool = False,
    ) -> int:
        n = max(self.world.releases, default=0) + 1
        self.world.natures[n] = nature
        self.world.releases[n] = Release(
            service="orders",
            n=n,
            spec=ServiceSpec(
                name="orders",
                run=Command(argv=("orders",)),
                ports=(Port(),) if ports else (),
                routes=(Route(path="/orders"),) if ports else (),
                health=Health(start_budget_s=10.0),
                stop=Stop(drain_s=5.0, grace_s=2.0),
                replicas=replicas,
                overlap=overlap,
                rollout=replace(rollout, before=Before(run=Command(argv=("migrate",))) if before else None),
            ),
            artifact=Artifact(key=f"k{n}", digest=f"d{n}", builder="python", platform="any", path="/a"),
        )
        return n

    def _begin(self, kind: Literal["deploy", "rollback"], n: int) -> None:
        world = self.world
        if world.rollout is not None and world.rollout.phase not in ENDED:
            world.rollout = supersede(world.rollout, world.now)
        stable = world.intent.target
        overlap = not exclusive(world.releases[n], world.releases[stable]) if stable else world.releases[n].spec.overlap
        choice = choose(world.releases[n], world.releases.get(stable or 0), world.releases[n].spec.replicas, None)
        how = (choice.strategy, choice.why, choice.steps) if kind == "deploy" else ()
        prepares = needed(kind, world.releases[n], () if world.run is None else (world.run,))
        world.ids += 1
        world.rollout = begin(kind, "orders", f"op{world.ids}", n, stable, overlap, world.now, Author(), prepares, *how)
        world.prepare()
        world.phases = [world.rollout.phase]

    def _free(self) -> bool:
        rollout = self.world.rollout
        return rollout is None or rollout.phase in ENDED | LIVE

    def _pick(self, index: int) -> Process | None:
        alive = [one for one in self.world.processes.values() if one.alive]
        return alive[index % len(alive)] if alive else None

    # --- people ---

    @precondition(_free)
    @rule(
        nature=st.sampled_from(NATURES),
        replicas=st.integers(1, 3),
        overlap=st.sampled_from([True, True, False]),
        ports=st.sampled_from([True, True, True, False]),
        rollout=ROLLOUTS,
        before=st.booleans(),
    )
    def deploy(
        self, nature: Nature, replicas: int, overlap: bool, ports: bool, rollout: RolloutSpec, before: bool
    ) -> None:
        self._begin("deploy", self._release(nature, replicas, overlap, ports, rollout, before))

    @precondition(lambda self: self._free() and self.world.natures.get(self.world.intent.target) in ("good", "slow"))
    @rule(rollout=ROLLOUTS, replicas=st.integers(1, 3), outcome=OUTCOMES, turns=st.integers(3, 12))
    def deploy_as_far_as_it_goes(
        self, rollout: RolloutSpec, replicas: int, outcome: Outcome | None, turns: int
    ) -> None:
        self.world.outcome = None
        self._begin("deploy", self._release("good", replicas, True, True, rollout))
        self._go_well(1.1, 4)
        self.world.outcome = outcome
        self._go_well(1.1, turns)

    @rule(outcome=OUTCOMES)
    def measure(self, outcome: Outcome | None) -> None:
        self.world.outcome = outcome

    @precondition(lambda self: self.world.rollout is not None)
    @rule(word=st.sampled_from(["pause", "resume", "promote", "abort", "keep"]))
    def steer(self, word: Word) -> None:
        with contextlib.suppress(Conflict):
            self.world.rollout = steer(self.world.rollout, word, "ada", self.world.now)

    @rule(state=st.sampled_from(["succeeded", "succeeded", "failed"]))
    def migrated(self, state: JobState) -> None:
        self.world.end_run(state)

    @precondition(lambda self: self._free() and self.world.intent.target not in (None, 1))
    @rule()
    def rollback(self) -> None:
        self._begin("rollback", self.world.intent.target - 1)

    @rule(replicas=st.sampled_from([None, 1, 2, 3]))
    def scale(self, replicas: int | None) -> None:
        self.world.intent = replace(self.world.intent, replicas=replicas)

    @rule()
    def down(self) -> None:
        if self.world.rollout is not None:
            self.world.rollout = supersede(self.world.rollout, self.world.now)
        self.world.intent = replace(self.world.intent, target=None)

    # --- time and the host ---

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.3, 1.0, 1.0, 3.0, 12.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.world.move(self.world.now_s + seconds)

    @rule(seconds=st.sampled_from([0.05, 0.3, 1.1, 1.1, 4.0]), turns=st.integers(1, 6))
    def go_well(self, seconds: float, turns: int) -> None:
        self._go_well(seconds, turns)

    def _go_well(self, seconds: float, turns: int) -> None:
        for _ in range(turns):
            self.world.answer()
            self.world.end_run("succeeded")
            self.world.move(self.world.now_s + seconds)
            self.world.turn()
            self.world.acknowledge()

    @rule(index=st.integers(0, 9))
    def crash(self, index: int) -> None:
        process = self._pick(index)
        if process is not None:
            process.ends_s = self.world.now_s
            self.world.move(self.world.now_s)

    @rule(index=st.integers(0, 9), unwell=st.booleans())
    def flap(self, index: int, unwell: bool) -> None:
        process = self._pick(index)
        if process is not None:
            process.unwell = unwell
            self.world.move(self.world.now_s)

    @rule(index=st.integers(0, 9))
    def hang(self, index: int) -> None:
        process = self._pick(index)
        if process is not None:
            process.stuck = True

    @rule()
    def ask_host(self) -> None:
        self.world.answer()

    @rule(kind=st.sampled_from(["slow host", "daemon", "daemon at a start", "reboot"]))
    def misfortune(self, kind: str) -> None:
        self.world.slow_host |= kind == "slow host"
        self.world.lose_starts |= kind == "daemon at a start"
        if kind == "daemon":
            self.world.forget_memory()
        if kind == "reboot":
            self.world.reboot()

    # --- the proxy ---

    @rule(answer=st.sampled_from(["yes", "yes", "yes", "applied, not said", "no"]))
    def proxy_answers(self, answer: str) -> None:
        if answer == "yes":
            self.world.acknowledge()
        elif self.world.sent is not None and answer == "applied, not said":
            self.world.proxy = self.world.sent
        elif self.world.sent is not None and self.world.proxy is not self.world.sent:
            self.world.sent, self.world.problem = None, "listener: cannot bind"

    @rule(index=st.integers(0, 9), requests=st.integers(0, 3))
    def load(self, index: int, requests: int) -> None:
        process = self._pick(index)
        if process is not None:
            process.requests = requests

    # --- always ---

    @invariant()
    def turn(self) -> None:
        self.world.turn()
        if self.world.lose_starts and not self.world.host_known:
            self.world.forget_memory()
            self.world.lose_starts = False

    def teardown(self) -> None:
        if self.world.releases:
            self.world.calm()


TestPlay = Play.TestCase
TestPlay.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,  # the same plays in every run: a red run means a change, never luck
    database=None,
    suppress_health_check=list(HealthCheck),
)
