"""`--plan`: the same as the request would do, in the right order, and nothing is changed by asking."""

import pytest
from msgspec.structs import replace
from world import ARTIFACT, World, spec

from atoll.decide import plan
from atoll.model.errors import AtollError, Conflict, NotFound, Refused, UserError
from atoll.model.spec import Call, Limits, Plain, RolloutSpec, RolloutStep, Route, SecretRef
from atoll.model.state import Intent, Release
from atoll.model.wire import (
    DeployRequest,
    Draft,
    FaultRequest,
    Mutation,
    PlanView,
    RestartRequest,
    RollbackRequest,
    ScaleRequest,
    StopRequest,
    UpRequest,
)


def deploy(wanted: object, **fields: object) -> DeployRequest:
    return DeployRequest(spec=wanted, artifact=ARTIFACT, **fields)  # type: ignore[arg-type]


async def ask(world: World, request: Mutation, service: str = "orders") -> PlanView:
    """One plan; whoever asks finds everything as it was."""
    await world.clock.sleep(20)  # whatever was begun has ended
    before = await photograph(world)
    [view] = await world.environment.plan(request, service)
    await world.clock.sleep(5)
    assert await photograph(world) == before
    return view


async def photograph(world: World) -> object:
    status = await world.environment.status()
    events = [event async for event in world.environment.events()]
    services = [(view.name, view.release, view.state, view.wanted, view.generation) for view in status.services]
    return (
        services,
        events,
        len(world.traffic.history),
        [replica.id for view in status.services for replica in view.replicas],
    )


def test_a_first_deploy_is_planned_without_making_the_service_known() -> None:
    world = World()

    async def scenario() -> None:
        view = await ask(world, deploy(spec(replicas=2)))
        assert (view.release, view.previous, view.replicas, view.holds) == ("r1", "", 2, False)
        assert view.steps == ("start 2 replicas of r1", "send it requests when they have been ready for 1 s")
        assert view.changed == ("first release, artifact k1",)
        assert view.routes == ("http://127.0.0.1:8080/orders",)
        with pytest.raises(NotFound):
            await world.environment.plan(RestartRequest(), "orders")

    world.run(scenario)


def test_the_next_deploy_says_what_differs_and_is_what_then_happens() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(rollout=RolloutSpec(bake_s=600.0)))
        wanted = spec(version="v2", rollout=RolloutSpec(bake_s=600.0))
        view = await ask(world, deploy(wanted))
        assert (view.release, view.previous, view.generation) == ("r2", "r1", (await world.of()).generation)
        assert view.changed == ("env VERSION: v1 -> v2",)
        assert view.steps == (
            "start 1 replica of r2 beside r1",
            "move all requests from r1 to r2 when they have been ready for 1 s",
            "let requests at r1 finish, at most 5 s",
            "keep r1 warm for 10 min, then stop it",
        )
        done = await world.live(wanted)
        assert (done.release, done.previous) == (view.release, view.previous)
        assert done.receipt is not None
        assert done.receipt.changed == view.changed
        assert (await ask(world, deploy(wanted))).unchanged
        assert (await ask(world, deploy(wanted, force=True))).release == "r3"

    world.run(scenario)


def test_without_overlap_requests_are_held_and_the_old_release_ends_first() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(overlap=False))
        view = await ask(world, deploy(spec(version="v2", overlap=False)))
        assert view.holds
        assert view.steps == (
            "hold requests at the proxy",
            "let requests at r1 finish, at most 5 s",
            "stop r1: two releases of it never run at once",
            "start 1 replica of r2 and wait until it has been ready for 1 s",
            "let the requests that waited go",
        )

    world.run(scenario)


def test_a_rollback_to_a_warm_release_starts_nothing_and_needs_no_memory() -> None:
    world = World()

    async def scenario() -> None:
        limits = Limits(memory_bytes=2**30)
        await world.live(spec(limits=limits))
        await world.live(spec(version="v2", limits=limits))
        view = await ask(world, RollbackRequest())
        assert (view.kind, view.release, view.previous, view.memory_bytes) == ("rollback", "r1", "r2", 0)
        assert view.steps[0] == "start nothing: the 1 replica of r1 still run"
        assert view.steps[-1] == "stop r2"
        with pytest.raises(Conflict, match="r2 already has the traffic"):
            await world.environment.plan(RollbackRequest(to=2), "orders")

    world.run(scenario)


def test_memory_routes_secrets_and_callees_are_judged_as_at_a_deploy() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec("web"))
        world.free_bytes = 2**30
        big = spec(replicas=2, limits=Limits(memory_bytes=2**29), calls=(Call(callee="payments", env={"P": "{url}"}),))
        view = await ask(world, deploy(big))
        assert (view.memory_bytes, view.free_bytes) == (2**30, 2**30)
        assert "may use nearly all free memory" in view.warnings[0]
        assert "orders calls payments, which does not run" in view.warnings[1]
        refused: list[tuple[object, type[AtollError], str]] = [
            (spec(limits=Limits(memory_bytes=2**31)), Refused, "does not fit into memory"),
            (spec(routes=(Route(path="/web"),)), Refused, "cannot take the route '/web'"),
            (spec(env={"DB": SecretRef("db")}), NotFound, "needs the secret 'db'"),
        ]
        for wanted, kind, what in refused:
            with pytest.raises(kind, match=what):
                await world.environment.plan(deploy(wanted), "orders")
        with pytest.raises(Conflict, match="has changed meanwhile"):
            await world.environment.plan(deploy(spec(), expect=7), "orders")

    world.run(scenario)


def test_a_service_that_is_being_deployed_has_no_plan() -> None:
    world = World()

    async def scenario() -> None:
        operation = await world.deploy(spec())
        with pytest.raises(Conflict, match="is being deployed already"):
            await world.environment.plan(deploy(spec(version="v2")), "orders")
        await world.ended(operation)

    world.run(scenario)


def test_a_restart_is_the_same_content_with_the_newest_secrets() -> None:
    world = World()

    async def scenario() -> None:
        await world.vault.set("db", "one")
        await world.live(spec(env={"DB": SecretRef("db"), "V": Plain("1")}))
        await world.vault.set("db", "two")
        view = await ask(world, RestartRequest())
        assert (view.release, view.changed) == ("r2", ("secret db: v1 -> v2",))

    world.run(scenario)


def test_scaling_says_how_many_start_or_stop() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(limits=Limits(memory_bytes=2**20)))
        more = await ask(world, ScaleRequest(replicas=3))
        assert more.steps == ("start 2 replicas of r1 beside the 1 that run",)
        assert more.memory_bytes == 2 * 2**20
        none = await ask(world, ScaleRequest(replicas=0))
        assert none.steps[1:] == ("stop 1 replica", "nothing of it runs from then on; requests get 503")
        assert (await ask(world, ScaleRequest(replicas=None))).unchanged
        await world.live(spec(version="v2", overlap=False))
        with pytest.raises(Refused, match="cannot run 2 replicas"):
            await world.environment.plan(ScaleRequest(replicas=2), "orders")

    world.run(scenario)


def test_stopping_tells_who_loses_a_callee() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        await world.live(spec("web", calls=(Call(callee="orders", env={"O": "{url}"}),)))
        view = await ask(world, StopRequest())
        assert view.warnings == ("web calls it: its calls get 503 from then on",)
        assert view.steps[1] == "stop 1 replica of r1"
        await world.environment.stop("orders", StopRequest())
        assert (await ask(world, StopRequest())).unchanged

    world.run(scenario)


def test_up_plans_what_is_not_running_and_says_why_it_leaves_the_others() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec("same"))
        await world.live(spec("edited"))
        calls = (Call(callee="later", env={"L": "{url}"}),)
        drafts = [
            spec("same"),
            spec("edited", "v2"),
            spec("web", calls=calls),
            spec("later"),
            spec("no", env={"S": SecretRef("s")}),
        ]
        request = UpRequest(drafts=tuple(Draft(spec=each, artifact=ARTIFACT) for each in drafts))
        plans = {view.service: view for view in await world.environment.plan(request)}
        assert {name for name, view in plans.items() if view.unchanged} == {"same", "edited"}
        assert "atoll deploy edited" in plans["edited"].steps[0]
        assert plans["web"].warnings == ()  # what it calls starts with it
        assert plans["later"].release == "r1"
        assert (refused := plans["no"].refused) is not None
        assert (refused.kind, refused.exit_code) == ("NotFound", 2)
        assert [view.name for view in (await world.environment.status()).services] == ["edited", "same"]

    world.run(scenario)


def test_a_worker_has_no_requests_that_must_finish() -> None:
    worker = Release(service="mailer", n=1, spec=spec("mailer", ports=(), routes=(), overlap=False), artifact=ARTIFACT)
    intent = Intent(service="mailer", target=1)
    stopped = plan.stop(intent, worker, "", {}, "http://127.0.0.1:8080")
    assert stopped.steps == ("stop 1 replica of r1", "keep its releases: `atoll up` starts it again")
    none = plan.scale(intent, replace(intent, replicas=0), worker, None)
    assert none.steps == ("stop 1 replica", "nothing of it runs from then on")
    newer = replace(worker, n=2)
    next_one = plan.rollout("deploy", intent, newer, worker, warm=False, warnings=(), free_bytes=None, gateway="")
    assert not next_one.holds
    assert next_one.steps[0] == "stop r1: two releases of it never run at once"


def test_a_deploy_by_steps_is_planned_step_by_step() -> None:
    world = World()
    steps = (
        RolloutStep(header="x-canary: yes", hold_s=0.0, approve=True),
        RolloutStep(weight_pct=10, hold_s=60.0),
    )

    async def scenario() -> None:
        await world.live(spec())
        view = await ask(world, deploy(spec(version="v2", rollout=RolloutSpec(steps=steps, bake_s=600.0))))
        assert view.steps == (
            "start 1 replica of r2 beside r1",
            "move requests by steps when they have been ready for 1 s; canary: its file has steps",
            "send r2 the requests with x-canary: yes until somebody says `atoll rollout resume orders`",
            "send r2 10 % of the requests for at least 60 s and until its verdict passes",
            "move all requests from r1 to r2 at last",
            "let requests at r1 finish, at most 5 s",
            "keep r1 warm for 10 min, then stop it",
        )

    world.run(scenario)


def test_while_a_step_is_watched_a_plan_says_what_the_request_would_do() -> None:
    """A deploy takes the place of the one under way, a rollback ends it; neither is refused."""
    world = World()
    waiting = RolloutSpec(steps=(RolloutStep(weight_pct=10, hold_s=1000.0),))

    async def scenario() -> None:
        await world.live(spec())
        await world.deploy(spec(version="v2", rollout=waiting))
        assert (await ask(world, deploy(spec(version="v3")))).release == "r3"
        back = await ask(world, RollbackRequest())
        assert (back.kind, back.steps[0]) == ("steer", "move all requests back to r1")
        with pytest.raises(Conflict, match="is being deployed"):
            await world.environment.plan(RollbackRequest(to=1), "orders")

    world.run(scenario)


def test_a_fault_that_would_be_refused_has_no_plan() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        (told,) = await world.environment.plan(FaultRequest(kind="kill", most=5), "orders")
        assert told.steps == ("end 1 of its replicas with SIGKILL",)
        for wrong, what in (
            (FaultRequest(kind="abort", status=7), "is no HTTP status"),
            (FaultRequest(kind="abort", status=503, caller="nobody"), "nobody is called"),
            (FaultRequest(kind="latency", latency_s=0.0), "a latency of nothing"),
            (FaultRequest(kind="pause", seconds=1e6), "cannot last"),
        ):
            with pytest.raises(UserError, match=what):
                await world.environment.plan(wrong, "orders")
            with pytest.raises(UserError, match=what):
                await world.environment.inject("orders", wrong)
        await world.environment.stop("orders", StopRequest())
        await world.clock.sleep(30)
        with pytest.raises(Conflict, match="nothing of orders is there to break"):
            await world.environment.plan(FaultRequest(kind="kill"), "orders")

    world.run(scenario)
