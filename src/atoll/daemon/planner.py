"""What a request would do, told without doing it: the same checks and the same release as when it is carried out.

The API asks it for `plan=true`. It reads rows and commits nothing; the sentences are `decide.plan`'s.
"""

from collections.abc import Sequence
from typing import Any

from atoll.daemon.candidates import Candidates, active, already, request_of
from atoll.daemon.fault_book import FaultBook
from atoll.daemon.job_desk import JobDesk
from atoll.daemon.loops import Loops, refuse_no_name
from atoll.decide import plan
from atoll.decide.before import needed
from atoll.decide.compose import replicas
from atoll.decide.steering import steer
from atoll.decide.strategies import choose
from atoll.model.errors import AtollError, UserError
from atoll.model.state import Release
from atoll.model.wire import (
    DeployRequest,
    ErrorView,
    FaultRequest,
    Mutation,
    PlanView,
    RestartRequest,
    RollbackRequest,
    ScaleRequest,
    SteerRequest,
    StopRequest,
    UpRequest,
)
from atoll.model.wire_jobs import RunRequest
from atoll.ports import Clock
from atoll.realise.records import Records


class Planner:
    """One environment's. `gateway` is its address, such as `http://127.0.0.1:8080`."""

    def __init__(
        self,
        candidates: Candidates,
        loops: Loops,
        records: Records,
        job_desk: JobDesk,
        faults: FaultBook,
        gateway: str,
        clock: Clock,
    ) -> None:
        self._candidates, self._loops, self._records, self._job_desk = candidates, loops, records, job_desk
        self._faults, self._gateway, self._clock = faults, gateway, clock

    async def plan(self, request: Mutation, service: str = "") -> Sequence[PlanView]:
        """One plan a service. Raises what the request itself would raise; `up` tells refusals in its answer."""
        match request:
            case UpRequest():
                return await self._up(request)
            case DeployRequest():
                self._candidates.replaceable(request.spec.name, request)
                return [await self._deploy(request, (), up=False)]
            case RollbackRequest():
                rollout = self._loops.known(service).rollout()
                if request.to is None and active(rollout):
                    return [await self._steer(service, SteerRequest(word="abort", author=request.author))]
                self._candidates.idle(service, request)
                return [self._rollout("rollback", await self._candidates.rolled_back(service, request), ())]
            case RestartRequest():
                self._loops.known(service)
                self._candidates.idle(service, request)
                return [self._rollout("restart", await self._candidates.restarted(service, request), ())]
            case SteerRequest():
                return [await self._steer(service, request)]
            case FaultRequest():
                return [self._fault(service, request)]
            case ScaleRequest():
                return [await self._scale(service, request)]
            case StopRequest():
                return [self._stop(service, request)]
            case RunRequest():
                release, job, run, _ = self._job_desk.asked(service, request)
                return [plan.run(run, job, release, self._candidates.intent(service))]
        raise UserError(
            f"{type(request).__name__} has no plan", "it changes no service", "carry it out", id="bad-request"
        )

    async def _up(self, request: UpRequest) -> Sequence[PlanView]:
        """Those that would be deployed know of each other, as they will."""
        plans: list[PlanView] = []
        due: list[DeployRequest] = []
        for draft in request.drafts:
            service = draft.spec.name
            intent, rollout = self._candidates.intent(service), self._records.rollout_of(service)
            if rollout is not None and active(rollout):
                plans.append(self._left(service, f"r{rollout.candidate} is {rollout.phase} already: it goes on"))
            elif intent.target is None:
                due.append(request_of(draft, request.author))
            elif await self._candidates.same(draft.spec, draft.artifact, intent.target):
                plans.append(self._left(service, f"runs as r{intent.target}, and its files say the same"))
            else:
                text = f"runs as r{intent.target}, and its files have changed: `atoll deploy {service}` is for that"
                plans.append(self._left(service, text))
        for deploy in due:
            others = [self._likely(other) for other in due if other is not deploy]
            try:
                plans.append(await self._deploy(deploy, others, up=True))
            except AtollError as exc:
                plans.append(PlanView(service=deploy.spec.name, kind="deploy", refused=ErrorView.of(exc)))
        return sorted(plans, key=lambda each: each.service)

    def _left(self, service: str, text: str) -> PlanView:
        intent = self._candidates.intent(service)
        release = "" if intent.target is None else f"r{intent.target}"
        return PlanView(
            service=service, kind="deploy", release=release, previous=release, unchanged=True, steps=(text,),
            generation=intent.generation,
        )  # fmt: skip

    def _likely(self, request: DeployRequest) -> Release:
        return Release(service=request.spec.name, n=0, spec=request.spec, artifact=request.artifact)

    async def _deploy(self, request: DeployRequest, beside: Sequence[Release], *, up: bool) -> PlanView:
        refuse_no_name(request.spec.name)
        self._candidates.unwatched(request)
        release, runs = await self._candidates.deployed(request)
        if runs:
            return self._left(release.service, already(release, request.artifact).removeprefix(f"{release.service} "))
        self._candidates.allowed(request, release, up=up)
        return self._rollout("deploy", release, beside)

    def _rollout(self, kind: Any, release: Release, beside: Sequence[Release]) -> PlanView:
        admitted = self._candidates.admitted(release, beside)
        intent = self._candidates.intent(release.service)
        load = self._loops.of(release.service).load() if admitted.stable is not None else None
        return plan.rollout(
            kind,
            intent,
            release,
            admitted.stable,
            warm=admitted.warm,
            warnings=admitted.warnings,
            free_bytes=admitted.free_bytes,
            gateway=self._gateway,
            prepares=needed(kind, release, self._records.runs_of(release.service)),
            choice=choose(release, admitted.stable, replicas(intent, release), load) if kind == "deploy" else None,
        )

    def _fault(self, service: str, request: FaultRequest) -> PlanView:
        _, hit = self._faults.asked(service, request)
        intent = self._candidates.intent(service)
        who = f" from {request.caller}" if request.caller else ""
        share = f"{request.percent} % of the requests{who}"
        does = {
            "kill": f"end {len(hit)} of its replicas with SIGKILL",
            "pause": f"stop {len(hit)} of its replicas for {request.seconds:g} s",
            "latency": f"hold {share} for {request.latency_s * 1000:g} ms each, for {request.seconds:g} s",
            "abort": f"answer {share} with {request.status}, for {request.seconds:g} s",
        }
        return PlanView(service=service, kind="fault", steps=(does[request.kind],), generation=intent.generation)

    async def _steer(self, service: str, request: SteerRequest) -> PlanView:
        loop = self._loops.known(service)
        intent = self._candidates.expected(service, request)
        if request.word == "retry":
            self._candidates.thawed(service)
            self._candidates.idle(service, request)
            return self._rollout("deploy", await self._candidates.retried(service), ())
        rollout = loop.rollout()
        after = steer(rollout, request.word, request.author.actor or "somebody", self._clock.now())
        before = rollout or after  # `steer` refuses where there is none
        candidate = self._records.releases_of(service)[before.candidate]
        return plan.steered(before, after, candidate, intent.generation)

    async def _scale(self, service: str, request: ScaleRequest) -> PlanView:
        self._loops.known(service)
        intent = await self._candidates.scaled(service, request)
        release = self._records.releases_of(service).get(intent.target or 0)
        return plan.scale(self._candidates.intent(service), intent, release, self._candidates.free_bytes())

    def _stop(self, service: str, request: StopRequest) -> PlanView:
        self._loops.known(service)
        intent = self._candidates.expected(service, request)
        release = self._records.releases_of(service).get(intent.target or 0)
        rollout = self._records.rollout_of(service)
        moving = f"r{rollout.candidate}" if rollout is not None and active(rollout) else ""
        return plan.stop(intent, release, moving, self._candidates.live(), self._gateway)
