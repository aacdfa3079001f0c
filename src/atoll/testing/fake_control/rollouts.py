"""Rollouts of pretend: what is asked for, played phase by phase. Part of `FakeControl`."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Literal

import msgspec

from atoll.model.analysis import Finding, Verdict
from atoll.model.errors import Conflict, NotFound, Refused
from atoll.model.state import Author, Receipt, RolloutPhase, Step
from atoll.model.wire import (
    DeployRequest,
    ErrorView,
    FaultRequest,
    Mutation,
    PlanView,
    ReleaseView,
    RestartRequest,
    RollbackRequest,
    ScaleRequest,
    SteerRequest,
    StopRequest,
    UpRequest,
    UpView,
)
from atoll.model.wire_jobs import RunRequest
from atoll.model.wire_operations import OperationView, SteppingView
from atoll.testing.fake_control.world import WALL, World, service_view

_Kind = Literal["deploy", "rollback", "restart"]


class Rollouts:
    """A deploy whose note is `fail` is undone, one whose note is `refuse` is refused."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.note = ""  # of every release
        self.held: set[str] = set()  # services whose rollouts stay in `starting`
        self.tried: set[str] = set()  # and those whose rollouts stay at a step
        self.same: dict[str, str] = {}  # services whose drafts are what runs -> what is said of it
        self._operations: dict[str, OperationView] = {}
        self._answers: dict[str, OperationView] = {}  # idempotency key -> the first answer

    async def up(self, request: UpRequest) -> UpView:
        self._world.requests.append(request)
        begun, unchanged, refused = list[OperationView](), list[str](), dict[str, ErrorView]()
        for draft in request.drafts:
            name = draft.spec.name
            if name in self._world.services:
                unchanged.append(name)
            elif draft.spec.description == "refuse":
                what = f"{name} does not fit"
                refused[name] = ErrorView(id="does-not-fit", kind="Refused", what=what, why="memory", exit_code=4)
            else:
                begun.append(self._begin(name, "deploy", draft.spec.description))
        return UpView(operations=tuple(begun), unchanged=tuple(unchanged), refused=refused)

    async def deploy(self, request: DeployRequest) -> OperationView:
        if request.note == "refuse":
            raise Refused(
                f"{request.spec.name} does not fit",
                "it wants 2 GiB, 1 GiB is free",
                "lower limits.memory",
                id="does-not-fit",
            )
        if (text := self.same.get(request.spec.name)) is not None:
            return OperationView(
                id="", service=request.spec.name, kind="deploy", release="r1", previous="r1", phase="unchanged",
                ended=True, text=text,
            )  # fmt: skip
        return self._change(request.spec.name, "deploy", request, request.note)

    async def rollback(self, service: str, request: RollbackRequest) -> OperationView:
        self._world.find(service)
        if request.to is not None and request.to > int(self._world.services[service].release[1:]):
            raise NotFound(
                f"{service} has no release r{request.to}", "it was never made", "see the releases", id="unknown-release"
            )
        if request.to is None and service in self.held:
            return self._given_up(service, request)
        return self._change(service, "rollback", request)

    def _given_up(self, service: str, request: RollbackRequest) -> OperationView:
        """The rollout under way, ended by the one who asks for the way back."""
        self._world.requests.append(request)
        view = next(one for one in reversed(self._operations.values()) if one.service == service)
        receipt = msgspec.structs.replace(
            self._receipt(view, int(view.release[1:]), good=False), reason="ada ended it", reason_id="", output=""
        )
        view = msgspec.structs.replace(view, phase="undone", ended=True, receipt=receipt, text=receipt.reason)
        self._operations[view.id] = view
        return view

    async def restart(self, service: str, request: RestartRequest) -> OperationView:
        self._world.find(service)
        return self._change(service, "restart", request)

    async def steer(self, service: str, request: SteerRequest) -> OperationView:
        self._world.find(service)
        self._world.requests.append(request)
        return at_a_step(service)

    async def operation(self, operation_id: str) -> OperationView:
        return self._operation(operation_id)

    def _operation(self, operation_id: str) -> OperationView:
        if operation_id not in self._operations:
            raise NotFound(
                f"there is no operation '{operation_id}'",
                "it may be of another environment",
                "look at events",
                id="unknown-service",
            )
        return self._operations[operation_id]

    def watch_operation(self, operation_id: str, until: str = "live") -> AsyncIterator[OperationView]:
        return self._world.watch(partial(self._operation, operation_id), lambda view: view.settled(until))

    async def releases(self, service: str) -> Sequence[ReleaseView]:
        view = self._world.find(service)
        newest = int(view.release[1:])
        return [
            ReleaseView(
                service=service,
                release=f"r{n}",
                n=n,
                state="current" if n == newest else "past",
                artifact="0123456789abcdef",
                created_wall=WALL + n,
                author=Author(actor="ada", commit="c0ffee1234567890"),
                note=self.note,
                receipt=Receipt(
                    rollout=f"op-{n}", service=service, kind="deploy", release=n, previous=n - 1 or None, outcome="live"
                ),
            )
            for n in range(newest, 0, -1)
        ]

    async def plan(self, request: Mutation, service: str = "") -> Sequence[PlanView]:
        if isinstance(request, UpRequest):
            names = [draft.spec.name for draft in request.drafts]
            return [PlanView(service=name, kind="deploy", unchanged=name in self._world.services) for name in names]
        if isinstance(request, DeployRequest):
            if request.note == "refuse":
                raise Refused(
                    f"{service} does not fit", "it wants 2 GiB, 1 GiB is free", "lower limits.memory", id="does-not-fit"
                )
            if (text := self.same.get(service)) is not None:
                return [PlanView(service=service, kind="deploy", unchanged=True, steps=(text,))]
            running = service in self._world.services
            return [
                PlanView(
                    service=service,
                    kind="deploy",
                    release="r2" if running else "r1",
                    previous="r1" if running else "",
                    steps=("start 1 replica of r2 beside r1", "move all requests from r1 to r2"),
                    changed=("env LOG_LEVEL: info -> warn",),
                    routes=(f"http://127.0.0.1:8080/{service}",),
                    replicas=1,
                    memory_bytes=2**28,
                    free_bytes=2**30,
                    warnings=(f"{service} calls payments, which does not run: its calls get 503 until then",),
                )
            ]
        view = self._world.find(service)
        if isinstance(request, RunRequest):
            self._world.find_job(service, request.job)
            return [PlanView(service=service, kind="run", release=view.release, steps=(f"run {request.job}",))]
        kinds = {
            RollbackRequest: "rollback",
            RestartRequest: "restart",
            ScaleRequest: "scale",
            StopRequest: "stop",
            SteerRequest: "steer",
            FaultRequest: "fault",
        }
        kind = kinds[type(request)]
        steps = (f"{kind} {service}",)
        return [PlanView(service=service, kind=kind, release=view.release, steps=steps)]  # type: ignore[arg-type]

    def _change(self, service: str, kind: _Kind, request: Mutation, note: str = "") -> OperationView:
        if request.key and request.key in self._answers:
            return self._answers[request.key]
        running = self._world.services.get(service)
        if request.expect is not None and running is not None and request.expect != running.generation:
            raise Conflict(
                f"{service} was changed meanwhile",
                f"generation {running.generation}",
                "look, then try again",
                id="changed-meanwhile",
            )
        self._world.requests.append(request)
        view = self._begin(service, kind, note)
        if request.key:
            self._answers[request.key] = view
        return view

    def _begin(self, service: str, kind: _Kind, note: str = "") -> OperationView:
        running = self._world.services.get(service)
        n = int(running.release[1:]) + 1 if running else 1
        view = OperationView(
            id=f"op-{len(self._operations) + 1}",
            service=service,
            kind=kind,
            release=f"r{n}",
            previous=f"r{n - 1}" if running else "",
            phase="starting",
            wanted=1,
        )
        self._operations[view.id] = view
        self._world.begin(self._roll(view, n, note), view.id)
        return view

    async def _roll(self, view: OperationView, n: int, note: str) -> None:
        while view.service in self.held:
            await asyncio.sleep(self._world.step_s)
        if view.service in self.tried:
            view = msgspec.structs.replace(view, phase="stepping", stepping=at_a_step(view.service).stepping)
            self._operations[view.id] = view
            await self._world.record("rollout.step", view.service, f"10 % of the requests go to {view.release}")
        while view.service in self.tried:
            await asyncio.sleep(self._world.step_s)
        good = note != "fail"
        phases: tuple[RolloutPhase, ...] = ("shifting", "draining", "live") if good else ("undoing", "undone")
        for phase in phases:
            await asyncio.sleep(self._world.step_s)
            view = msgspec.structs.replace(view, phase=phase, ready=int(good), requests=view.requests + 10)
            last = phase in {"live", "undone"}
            if last:
                receipt = self._receipt(view, n, good)
                text, output = ("", "") if good else (receipt.reason, receipt.output)
                view = msgspec.structs.replace(view, ended=True, receipt=receipt, text=text, output=output)
            if phase == "live":
                self._world.services[view.service] = service_view(view.service, n)
            self._operations[view.id] = view
            await self._world.record(f"rollout.{phase}", view.service, f"{view.release} is {phase}")

    def _receipt(self, view: OperationView, n: int, good: bool) -> Receipt:
        return Receipt(
            rollout=view.id,
            service=view.service,
            kind=view.kind,
            release=n,
            previous=n - 1 or None,
            outcome="live" if good else "undone",
            reason="" if good else f"{view.release} was not ready within 30 s",
            reason_id="" if good else "not-ready-in-time",
            output="" if good else "Traceback: no module named 'orders'\n",
            changed=("artifact 0123 -> 4567",),
            seconds={"starting": 1.0, "shifting": 0.1, "total": 1.1},
            requests=view.requests,
            failed=0,
            undo=f"atoll rollback {view.service}" if good else "",
        )


def at_a_step(service: str) -> OperationView:
    """A canary that is looked at."""
    finding = Finding(
        metric="failures", outcome="inconclusive", test="a test", total=60, bad=1, other_total=540, other_bad=3,
        chance=0.4, alpha=0.005, text="1.67 % (1 of 60) of its requests failed",
    )  # fmt: skip
    verdict = Verdict(outcome="inconclusive", text=finding.text, findings=(finding,), requests=60, seconds=6.0)
    steps = tuple(Step(weight_pct=pct, hold_s=10.0, judged=pct < 100) for pct in (10, 50, 100))
    return OperationView(
        id="op-0", service=service, kind="deploy", release="r2", previous="r1", phase="stepping", ready=1, wanted=1,
        stepping=SteppingView(
            strategy="canary", why="its file says so", steps=steps, stage="watching", weight_pct=10, left_s=48.0,
            verdict=verdict,
        ),
    )  # fmt: skip
