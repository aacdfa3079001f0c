"""A play of one service: everything that can happen to host, proxy and daemon, in any order, around the decisions.

The world below knows the truth (processes, the proxy's table); the daemon sees only what it was told, late or never.
What must always hold is asserted at every turn; at the end the world calms down and everything must end well, woken by
nothing but the decisions' own `wake_at_s` and facts that change.
"""

import contextlib
from dataclasses import dataclass, field
from typing import Literal

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from atoll.decide.before import needed, run_of
from atoll.decide.compose import compose
from atoll.decide.facts import exclusive, is_ready
from atoll.decide.reconcile import Plan, crashes, reconcile
from atoll.decide.rollout import advance, begin, supersede
from atoll.decide.steering import Word, steer
from atoll.decide.strategies import choose
from atoll.decide.traffic import callee_port, entry
from atoll.model.actions import Drain, Forget, Kill, Publish, Signal, Start
from atoll.model.analysis import Outcome, Verdict
from atoll.model.errors import Conflict
from atoll.model.spec import Before, Command, Health, Port, RolloutSpec, Route, ServiceSpec, Stop
from atoll.model.state import (
    ENDED,
    LIVE,
    Artifact,
    Author,
    Backoff,
    Exit,
    Intent,
    JobRun,
    JobState,
    Now,
    Observation,
    Release,
    Replica,
    ReplicaRecord,
    Rollout,
    ServiceDesired,
)
from atoll.model.traffic import ServiceTraffic

replace = msgspec.structs.replace
Nature = Literal["good", "never ready", "dies at once", "ready, then dies", "live, then dies", "slow", "deaf"]
NATURES: tuple[Nature, ...] = (
    "good",
    "good",
    "never ready",
    "dies at once",
    "ready, then dies",
    "live, then dies",
    "slow",
    "deaf",
)
USUAL = RolloutSpec(bake_s=60.0)
READY_AFTER_S = {"good": 0.2, "slow": 8.0, "deaf": 0.2, "ready, then dies": 0.3, "live, then dies": 0.3}
DIES_AFTER_S = {"dies at once": 0.1, "ready, then dies": 0.7, "live, then dies": 2.0}


@dataclass
class Process:
    """The truth about one replica."""

    release: int
    started_s: float
    nature: Nature
    alive: bool = True
    busy: bool = False  # the host was told to start it and has not answered
    exit: Exit | None = None
    was_ready: bool = False
    unwell: bool = False  # readiness fails
    stuck: bool = False  # liveness fails
    ends_s: float | None = None
    ready_since_s: float | None = None  # as the prober found
    requests: int = 0


@dataclass
class World:
    """The truth, what is durable, and what the daemon has in memory."""

    boot: int = 1
    now_s: float = 100.0
    processes: dict[str, Process] = field(default_factory=dict)
    proxy: ServiceTraffic | None = None  # in force
    # durable
    releases: dict[int, Release] = field(default_factory=dict)
    natures: dict[int, Nature] = field(default_factory=dict)
    records: dict[str, ReplicaRecord] = field(default_factory=dict)
    intent: Intent = field(default_factory=lambda: Intent(service="orders"))
    rollout: Rollout | None = None
    run: JobRun | None = None  # what runs before a release
    # the daemon's memory
    host_known: bool = True
    wanted: ServiceTraffic | None = None
    sent: ServiceTraffic | None = None
    acked: ServiceTraffic | None = None
    problem: str = ""
    backoff: dict[tuple[int, int], Backoff] = field(default_factory=dict)
    last_exit: dict[int, Exit] = field(default_factory=dict)
    lose_starts: bool = False
    slow_host: bool = False
    ids: int = 0
    phases: list[str] = field(default_factory=list)
    outcome: Outcome | None = None  # of the analysis

    @property
    def now(self) -> Now:
        return Now(boot_id=f"boot{self.boot}", boot_s=self.now_s, wall=self.now_s)

    # --- what the daemon sees ---

    def observe(self) -> Observation:
        weights = None if self.acked is None else self.acked.weights
        return Observation(
            service="orders",
            replicas=tuple(self._see(record) for record in self.records.values()),
            weights=weights,
            holding=None if self.acked is None else self.acked.hold,
            header=None if self.acked is None else self.acked.header,
            backoff=crashes(self.backoff),
            last_exit=dict(self.last_exit),
            problem=self.problem,
            at_s=self.now_s,
        )

    def _see(self, record: ReplicaRecord) -> Replica:
        process = self.processes.get(record.id)
        if not self.host_known or (process and process.busy):
            return Replica(record=record, in_proxy=self._in_proxy(record))
        ready = bool(process and process.alive and process.ready_since_s is not None)
        counted = self.acked is not None and self.acked == self.wanted and process is not None
        return Replica(
            record=record,
            alive=bool(process and process.alive),
            exit=process.exit if process else None,
            ready=ready,
            ready_since_s=process.ready_since_s if process and ready else None,
            failing_live=bool(process and process.alive and process.stuck and process.was_ready),
            in_proxy=self._in_proxy(record),
            inflight=process.requests if counted and process else None,
            reason="" if ready else "connection refused",
        )

    def _in_proxy(self, record: ReplicaRecord) -> Literal["absent", "serving", "draining"] | None:
        if not record.ports:
            return "absent"
        if self.acked is None:
            return None
        return place(record.id, self.acked)

    # --- one turn of the daemon ---

    def composed(self) -> ServiceDesired:
        rollout = self.rollout
        mine = [one for one in self.observe().replicas if rollout and one.record.release == rollout.candidate]
        ready = any(is_ready(one) for one in mine)
        want = compose(self.intent, rollout, self.releases, ready=ready)
        weights = {rev.release: rev.weight_pct for rev in want.revisions}
        assert sum(weights.values()) in (0, 100)
        if rollout is not None and rollout.phase == "stepping" and self.intent.target is not None:
            assert ready or not weights[rollout.candidate], "a step sends requests to a candidate that is not ready"
            assert weights[rollout.candidate] <= max(step.weight_pct for step in rollout.steps)
        return want

    def turn(self) -> float | None:
        """Advance, compose, reconcile, do; returns when it wants to be woken."""
        wakes: list[float | None] = []
        for _ in range(20):
            if self.rollout is None or self.rollout.phase in ENDED:
                break
            want = self.composed()
            candidate = self.releases[self.rollout.candidate]
            stable = None if self.rollout.stable is None else self.releases[self.rollout.stable]
            replicas = next((rev.replicas for rev in want.revisions if rev.release == candidate.n), 0)
            verdict = Verdict(outcome=self.outcome) if self.outcome else None
            step = advance(self.rollout, self.observe(), want, candidate, stable, replicas, self.now, self.run, verdict)
            if step.rollout == self.rollout:
                wakes.append(step.wake_at_s)
                break
            self._entered(self.rollout, step.rollout, want)
            self.rollout = step.rollout
            self.prepare()
        else:
            raise AssertionError("a rollout that never comes to rest")
        want = self.composed()
        self.submit(want)
        if self.host_known:
            plan = self.reconcile(want)
            self.check(plan, want)
            self.do(plan)
            self.submit(want)
            again = self.reconcile(want)
            assert [one for one in again.actions if not isinstance(one, Kill)] == [], "a replay changes something"
            wakes += [plan.wake_at_s, again.wake_at_s]
        if self.sent is None and self.wanted != self.acked and not self.problem:
            self.sent = self.wanted
        known = [at_s for at_s in wakes if at_s is not None]
        return min(known) if known else None

    def prepare(self) -> None:
        """Begin what must run before the release, as the daemon does in the commit that enters the phase."""
        rollout = self.rollout
        if rollout is not None and rollout.phase == "preparing" and (self.run is None or self.run.id != rollout.before):
            self.run = replace(run_of(rollout, self.releases[rollout.candidate], self.now)[0], state="running")

    def end_run(self, state: JobState) -> None:
        if self.run is not None and not self.run.ended:
            self.run = replace(self.run, state=state, reason="" if state == "succeeded" else "exit code 1")

    def reconcile(self, want: ServiceDesired) -> Plan:
        return reconcile(want, self.observe(), self.releases, self.backoff, self.now, self._fresh)

    def _fresh(self, release: int, slot: int) -> str:
        self.ids += 1
        return f"orders-r{release}-{slot}-{self.ids}"

    def _entered(self, before: Rollout, after: Rollout, want: ServiceDesired) -> None:
        if after.phase != before.phase:
            self.phases.append(after.phase)
        self._stepped(before, after)
        if after.phase == "shifting" and before.phase != "shifting":
            revision = next(rev for rev in want.revisions if rev.release == after.candidate)
            ready = [one for one in self.observe().replicas if one.record.release == after.candidate and one.ready]
            assert len(ready) >= revision.replicas, "traffic moves to a candidate that is not ready"
        if after.phase in LIVE and before.phase not in LIVE:
            self.intent = replace(self.intent, target=after.candidate)
        if after.phase == "undone" and self.intent.target == after.candidate:
            self.intent = replace(self.intent, target=after.stable)

    def _stepped(self, before: Rollout, after: Rollout) -> None:
        """No step is skipped or taken twice, none is left without what its file asks for."""
        if before.phase != "stepping" or before.boot_id != after.boot_id:
            return
        step, order = before.steps[before.step], ("filling", "moving", "watching")
        if after.asked == before.asked == "promote" and after.step == before.step:
            return
        if before.asked == "promote" and before.step < len(before.steps) - 1:
            assert (after.phase, after.step) in (("stepping", len(before.steps) - 1), ("undoing", before.step))
            return
        if after.phase == "stepping" and after.step == before.step:
            assert order.index(after.stage) - order.index(before.stage) in (0, 1)
            return
        if after.phase == "undoing":
            return
        assert before.stage == "watching"
        assert after.step == before.step + 1 if after.phase == "stepping" else after.phase == "shifting"
        if after.phase == "shifting":
            assert before.step + 1 == len(before.steps)
        if not before.asked:
            policy = self.releases[after.candidate].spec.rollout
            unmeasured = policy.on_inconclusive if self.outcome == "inconclusive" else policy.on_no_data
            assert not step.judged or self.outcome == "pass" or unmeasured == "promote", "goes on unmeasured"
            assert not step.approve

    def submit(self, want: ServiceDesired) -> None:
        table = entry(want, self.observe(), self.releases, {}, lambda call: callee_port(call, {}, None))
        for upstream in table.upstreams:
            for endpoint in upstream.endpoints:
                process = self.processes.get(endpoint.replica)
                assert process is not None or not self.host_known, "traffic to a replica without a process"
                if self.host_known and process is not None:
                    assert process.alive or process.busy, "traffic to a dead replica"
                if process is not None and endpoint.state == "serving":
                    assert process.was_ready, "traffic to a replica that was never ready"
        if table != self.wanted:
            self.problem = ""
        self.wanted = table

    # --- what must hold of a plan ---

    def check(self, plan: Plan, want: ServiceDesired) -> None:
        seen = {one.id: one for one in self.observe().replicas}
        wanted = {rev.release: rev for rev in want.revisions}
        ready = {n: sum(1 for one in seen.values() if one.record.release == n and one.ready) for n in self.releases}
        for action in plan.actions:
            if isinstance(action, Start):
                continue
            one = seen[action.replica]
            assert one.alive is not None or one.record.boot_id != self.now.boot_id, "acts on the unknown"
            if isinstance(action, Publish):
                assert one.ready
            if isinstance(action, Signal) and self.releases[one.record.release].spec.ports:
                self._check_signal(one)
            retired = isinstance(action, Drain | Signal) and one.record.phase in ("starting", "serving")
            if retired and one.ready and not one.failing_live:
                n = one.record.release
                ready[n] -= 1
                revision = wanted.get(n)
                if revision is not None and revision.replicas > 0:
                    assert ready[n] >= revision.replicas, "takes away a ready replica that is still needed"
                elif one.record.phase == "serving" and self.releases[n].spec.ports:
                    down = not any(rev.weight_pct for rev in want.revisions)
                    moved = self.acked is not None and not self.acked.weights.get(n)
                    held = want.hold and self.acked is not None and self.acked.hold
                    assert down or moved or held, "drains what still gets traffic"

    def _check_signal(self, one: Replica) -> None:
        tables = [table for table in (self.proxy, self.sent) if table is not None]
        busy = self.processes[one.id].requests > 0 and one.record.phase in ("serving", "draining")
        if busy or any(place(one.id, table) == "serving" for table in tables):
            spec = self.releases[one.record.release].spec
            assert one.record.phase == "draining", "signals what the proxy still sends to"
            assert self.now_s >= one.record.phase_since_s + spec.stop.drain_s, "signals before the drain deadline"

    # --- doing it ---

    def do(self, plan: Plan) -> None:
        self.backoff = dict(plan.backoff)
        for action in plan.actions:
            match action:
                case Start():
                    self._start(action)
                case Publish():
                    self._phase(action.replica, "serving", "")
                case Drain():
                    self._phase(action.replica, "draining", action.why)
                case Signal():
                    self._phase(action.replica, "stopping", action.why)
                    process = self.processes[action.replica]
                    process.ends_s = None if process.nature == "deaf" else self.now_s + 0.05
                case Kill():
                    self.processes[action.replica].ends_s = self.now_s
                case Forget():
                    record = self.records.pop(action.replica)
                    process = self.processes.pop(action.replica, None)
                    if action.crashed and process and process.exit:
                        self.last_exit[record.release] = process.exit
        self.check_overlap()

    def _start(self, action: Start) -> None:
        spec = self.releases[action.release].spec
        if self.rollout is not None and self.rollout.before and action.release == self.rollout.candidate:
            assert self.run is not None
            assert self.run.state == "succeeded", "starts a candidate before what must run first"
        self.records[action.replica] = ReplicaRecord(
            id=action.replica,
            service="orders",
            release=action.release,
            slot=action.slot,
            ports={port.name: 20000 + self.ids for port in spec.ports},
            boot_id=self.now.boot_id,
            created_s=self.now_s,
            phase_since_s=self.now_s,
        )
        if not self.lose_starts:
            process = Process(action.release, self.now_s, self.natures[action.release])
            process.busy, process.alive = self.slow_host, not self.slow_host
            self.processes[action.replica] = process
        else:
            self.host_known = False  # the daemon died here: nobody knows

    def _phase(self, replica: str, phase: str, why: str) -> None:
        self.records[replica] = replace(self.records[replica], phase=phase, phase_since_s=self.now_s, why=why)

    def check_overlap(self) -> None:
        running = {process.release for process in self.processes.values() if process.alive}
        for a in running:
            for b in running - {a}:
                assert not exclusive(self.releases[a], self.releases[b]), "two releases overlap that must not"

    # --- the truth moves ---

    def end(self, replica: str, exit_: Exit) -> None:
        process = self.processes[replica]
        process.alive, process.exit, process.ready_since_s, process.requests = False, exit_, None, 0

    def move(self, to_s: float) -> None:
        """Let time pass: processes get ready and die in their nature's way."""
        for replica, process in list(self.processes.items()):
            if not process.alive:
                continue
            dies_s = process.ends_s
            if process.nature in DIES_AFTER_S:
                natural_s = process.started_s + DIES_AFTER_S[process.nature]
                dies_s = natural_s if dies_s is None else min(dies_s, natural_s)
            ready_s = process.started_s + READY_AFTER_S.get(process.nature, float("inf"))
            if process.unwell:
                process.ready_since_s = None
            elif ready_s <= to_s:
                process.was_ready = True
                if process.ready_since_s is None:
                    process.ready_since_s = max(ready_s, self.now_s if process.was_ready else ready_s)
            if dies_s is not None and dies_s <= to_s:
                self.end(replica, Exit(code=1, at_s=dies_s))
        self.now_s = to_s
        preparing = self.rollout is not None and self.rollout.phase == "preparing"
        if not preparing or (self.run is not None and self.rollout is not None and self.run.id != self.rollout.before):
            self.end_run("stopped")

    def answer(self) -> None:
        """The host answers all that it was asked."""
        self.host_known, self.slow_host = True, False
        for process in self.processes.values():
            if process.busy:
                process.busy, process.alive, process.started_s = False, True, self.now_s
        self.check_overlap()

    def next_fact_s(self) -> float | None:
        """When the truth changes next by itself."""
        times: list[float] = []
        for process in self.processes.values():
            if process.alive:
                ready = process.ready_since_s is not None or process.unwell
                times += [] if ready else [process.started_s + READY_AFTER_S.get(process.nature, float("inf"))]
                times += [process.started_s + DIES_AFTER_S.get(process.nature, float("inf"))]
                times += [process.ends_s] if process.ends_s is not None else []
        later = [at_s for at_s in times if self.now_s < at_s < float("inf")]
        return min(later) if later else None

    def acknowledge(self) -> None:
        if self.sent is not None:
            self.proxy = self.acked = self.sent
            self.sent = None

    def forget_memory(self) -> None:
        """The daemon dies and another one comes."""
        self.host_known, self.wanted, self.acked, self.problem = False, None, None, ""
        self.processes = {id: process for id, process in self.processes.items() if not process.busy}
        if self.sent is not None:
            self.proxy = self.sent  # it may have arrived
        self.sent = None
        self.backoff, self.last_exit = {}, {}

    def reboot(self) -> None:
        self.forget_memory()
        self.end_run("failed")
        self.boot += 1
        self.now_s, self.proxy, self.processes = 20.0, None, {}

    def calm(self) -> None:
        """From now on nothing bad happens: all must end within a bounded time."""
        self.answer()
        self.lose_starts, self.problem = False, ""
        for process in self.processes.values():
            process.unwell = process.stuck = False
        limit_s = self.now_s + 1000.0
        for _ in range(3000):
            for process in self.processes.values():
                process.requests = 0
            self.end_run("succeeded")
            self.move(self.now_s)
            before = msgspec.json.encode([self.intent, self.rollout, list(self.records.values())])
            if self.rollout is not None and self.rollout.paused:
                self.rollout = steer(self.rollout, "promote", "ada", self.now)
            wake_s = self.turn()
            unsettled = self.sent is not None
            self.acknowledge()
            after = msgspec.json.encode([self.intent, self.rollout, list(self.records.values())])
            if before != after or unsettled:
                continue
            fact_s = self.next_fact_s()
            times = [at_s for at_s in (wake_s, fact_s) if at_s is not None]
            ended = self.rollout is None or self.rollout.phase in ENDED
            if not times or (ended and not self._restless()) or min(times) > limit_s:
                break
            assert min(times) > self.now_s or wake_s is None or fact_s is not None, "woken for nothing"
            self.move(max(min(times), self.now_s + 0.001))
        self.check_end()

    def _restless(self) -> bool:
        target = self.intent.target
        if target is not None and self.natures[target] not in ("good", "slow", "deaf"):
            return self.now_s < 0  # a target that never settles: a crash loop goes on for ever
        want = self.composed()
        held = {(record.release, record.slot) for record in self.records.values() if record.phase == "serving"}
        due = {(rev.release, slot) for rev in want.revisions for slot in range(rev.replicas)}
        return held != due or len(held) != len(self.records)

    def check_end(self) -> None:
        assert self.rollout is None or self.rollout.phase in ENDED, f"stuck in {self.rollout.phase}: {self.phases}"
        assert not self._restless(), f"never settles: {self.records}"
        target = self.intent.target
        if target is None or self.natures[target] not in ("good", "slow", "deaf"):
            return
        want = self.composed()
        if self.releases[target].spec.ports and want.revisions[0].replicas:
            assert self.proxy is not None
            assert self.proxy.weights == {target: 100}
            assert not self.proxy.hold
            endpoints = [e for up in self.proxy.upstreams if up.release == target for e in up.endpoints]
            assert len(endpoints) == want.revisions[0].replicas


def place(replica: str, table: ServiceTraffic) -> Literal["absent", "serving", "draining"]:
    for upstream in table.upstreams:
        for endpoint in upstream.endpoints:
            if endpoint.replica == replica:
                return endpoint.state
    return "absent"


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
