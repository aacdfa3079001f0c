"""A service between what is true of it and what its daemon was told: processes, the proxy, the rows, and a turn of the decisions."""

from dataclasses import dataclass, field
from typing import Literal

import msgspec
from promises import check_plan, check_step, place

from atoll.decide.before import run_of
from atoll.decide.compose import compose
from atoll.decide.facts import exclusive, is_ready
from atoll.decide.reconcile import Plan, crashes, reconcile
from atoll.decide.rollout import advance
from atoll.decide.steering import steer
from atoll.decide.traffic import callee_port, entry
from atoll.model.actions import Drain, Forget, Kill, Publish, Signal, Start
from atoll.model.analysis import Outcome, Verdict
from atoll.model.spec import RolloutSpec
from atoll.model.state import (
    ENDED,
    LIVE,
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
            check_plan(self, plan, want)
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
        check_step(self, before, after)
        if after.phase == "shifting" and before.phase != "shifting":
            revision = next(rev for rev in want.revisions if rev.release == after.candidate)
            ready = [one for one in self.observe().replicas if one.record.release == after.candidate and one.ready]
            assert len(ready) >= revision.replicas, "traffic moves to a candidate that is not ready"
        if after.phase in LIVE and before.phase not in LIVE:
            self.intent = replace(self.intent, target=after.candidate)
        if after.phase == "undone" and self.intent.target == after.candidate:
            self.intent = replace(self.intent, target=after.stable)

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
