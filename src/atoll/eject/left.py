"""What cannot be carried over, service by service, and how to start what was written. Pure."""

from collections.abc import Iterator

from atoll.eject.calendar import on_calendar
from atoll.eject.compose import image
from atoll.eject.layout import UNIT_FILES, Layout, Recipe
from atoll.eject.units import secret_files, timers
from atoll.model.failures import Failures
from atoll.model.spec import EdgePolicy, Job, Probe, RolloutSpec, SecretRef, ServiceSpec

_USUAL = EdgePolicy()


def read_me(layout: Layout) -> str:
    """The README beside the files."""
    name, gateway = layout.name, layout.workspace.environment.gateway
    lines = [
        f"# {layout.workspace.name} without Atoll",
        "",
        "Written by `atoll eject`. Nothing here needs Atoll. End Atoll's own environment first (`atoll down`): the ports",
        f"are the same. The gateway is at {gateway}.",
        "",
        "## With compose",
        "",
        "```sh",
        "cp .env.example .env      # then fill in the secrets",
        "docker compose up --build --detach --wait",
        "```",
        "",
        "## With systemd",
        "",
        "Needs nginx, curl and bash, and what each service is built with. The units run under users of their own",
        f"(`DynamicUser`), which must be able to read `{layout.folder}`.",
        "",
        "```sh",
        "./build.sh                # copies and builds every service below build/",
        *(f"cp systemd/{each}.env.example systemd/{each}.env   # then fill in" for each in _with_secrets(layout)),
        f"sudo cp systemd/{name}*.service systemd/{name}.target{_timers(layout)} /etc/systemd/system/",
        f"sudo systemctl daemon-reload && sudo systemctl enable --now {name}.target",
        "```",
        "",
        "## What is not carried over",
        "",
        "Of Atoll itself:",
        "",
        *(f"- {each}" for each in _of_atoll(layout)),
    ]
    for spec in layout.services:
        told = list(dict.fromkeys(left_of(layout, spec)))
        if told:
            lines += ["", f"Of {spec.name}:", "", *(f"- {each}" for each in told)]
    return "\n".join(lines) + "\n"


def _with_secrets(layout: Layout) -> Iterator[str]:
    return (path.removeprefix("systemd/").removesuffix(".env.example") for path in secret_files(layout))


def _of_atoll(layout: Layout) -> Iterator[str]:
    yield "Deploys without a failed request: a new build replaces replicas while they serve."
    yield "Releases, rollback, receipts, the ledger, golden signals (`top`, `/metrics`) and `why`."
    if (gateway := layout.workspace.environment.gateway).tls is not None:
        yield (
            f"TLS at the gateway (`tls`): nginx here speaks plain HTTP on port {gateway.port}. Give its servers `ssl` with "
            "`ssl_certificate` and `ssl_certificate_key`, and a server on the port of plain HTTP that redirects; certbot has both."
        )
    if layout.workspace.environment.host is not None:
        yield "`host`: nothing brings these files, and what they run, to that machine."
    yield "Draining: a replica that is stopped is not taken out of nginx first."
    yield "Liveness probes: compose marks a replica unhealthy and leaves it; systemd only sees that a process ended."
    yield (
        "Retry budgets, breakers other than `max_connections`, `stable_for`; nginx takes a time-out as the silence between "
        "two reads, and repeats a request only when the connection failed or timed out."
    )
    if layout.edges:
        yield (
            "In compose, policies of calls: services reach each other by name, without time-outs, retries and ejection "
            "between them. The units go through nginx and have them."
        )
        yield "In compose, services must listen on 0.0.0.0 inside their container, not on 127.0.0.1."


def left_of(layout: Layout, spec: ServiceSpec) -> Iterator[str]:
    """Sentences."""
    yield from _build(layout, spec)
    if spec.name in layout.workspace.dev:
        yield "`dev`: nothing runs it from its own folder while it is edited; compose has `develop.watch` for that."
    yield from _failures(spec.failures)
    for field, probe in (("health.ready", spec.health.ready), ("health.live", spec.health.live)):
        yield from _probe(field, probe)
    yield from _given(spec)
    for route in spec.routes:
        port = spec.port(route.port)
        if port is not None and port.protocol != "http":
            yield f"`route` {route.host or ''}{route.path}: nginx takes gRPC without TLS on a listener of its own only."
        yield from _policy(f"`route` {route.path}", route.policy)
    yield from _calls(layout, spec)
    yield from _stores(spec)
    yield from _topics(spec)
    yield from _times(spec)
    for one, other in layout.circles:
        if one == spec.name:
            yield f"`calls.{other}`: they call each other in a circle, so {one} does not wait for {other} when it starts."
    if spec.rollout != RolloutSpec(before=spec.rollout.before):
        yield "`rollout`: all replicas are replaced at once; nothing is judged, and nobody goes back by itself."
    yield from _jobs(layout, spec)
    if not spec.overlap:
        yield "`overlap = false`: no two replicas run at once, but requests fail while it is replaced."
    for name, text in layout.on_host(spec, 1).files.items():
        if "\0" in text:
            yield (
                f"`files` {name}: under systemd, what is written `<secret ...>` or `<variable ...>` below {UNIT_FILES} is"
                " filled in by hand, and the file kept from others; compose takes it from .env and the shell."
            )
    for name in spec.inherit:
        yield f"`inherit` {name}: is taken from the shell that runs compose, and from systemd's own environment."


def _given(spec: ServiceSpec) -> Iterator[str]:
    """Folders and networks."""
    for folder in spec.writable:
        yield f"`writable` {folder}: under systemd, make it and give it to the unit's user (or use StateDirectory=)."
    for own in spec.ports:
        if own.number is not None:
            alone = "" if spec.replicas == 1 else f": only one of its {spec.replicas} replicas can run"
            yield (
                f"`ports.{own.name}.number`: under systemd it listens on {own.number} of the machine itself{alone};"
                " compose gives each container a network."
            )


def _jobs(layout: Layout, spec: ServiceSpec) -> Iterator[str]:
    for job in spec.jobs:
        yield from _job(layout, spec, job)
    if before := spec.rollout.before:
        unit = f"{layout.name}-{spec.name}-before.service"
        yield (
            f"`rollout.before` {before.run.text}: compose runs it at each `up`; with systemd start `{unit}` after "
            "`build.sh`, and restart the replicas when it succeeded. Nothing goes back by itself when it fails."
        )


def _job(layout: Layout, spec: ServiceSpec, job: Job) -> Iterator[str]:
    field = f"`jobs.{job.name}`"
    if job.schedule:
        yield f"{field}: compose has no schedule; `docker compose run --rm {layout.job_name(spec, job)}` runs it."
        deadline = f"within {job.starting_deadline_s / 60:g} min" if job.starting_deadline_s else "not at all"
        yield f"{field}: a timer runs what passed while the machine was down however late; it was to run {deadline}."
        if not on_calendar(job):
            yield f"{field}: systemd cannot say the schedule {job.schedule}; its unit has no timer."
    if job.schedule and job.overlap != "skip":
        yield f'{field}: `overlap = "{job.overlap}"`; a timer leaves out what is due while the job runs.'
    if job.retries:
        yield f"{field}: `retries`; compose tries nothing again, the unit does so every 10 s."


def _calls(layout: Layout, spec: ServiceSpec) -> Iterator[str]:
    for call in spec.calls:
        if call.store:
            continue
        name = f"`calls.{call.callee}`"
        if call.url is not None:
            yield f"{name}: goes to {call.url} directly; time-outs, retries and TLS are the service's own business."
            if call.ca:
                yield f"{name}: `ca`: tell the program which certificates to trust."
            continue
        if call.callee not in layout.workspace.services:
            yield f"{name}: is not in this workspace; under systemd it answers 503, in compose the name is unknown."
        yield from _policy(name, call.policy)


def _stores(spec: ServiceSpec) -> Iterator[str]:
    for store in spec.stores:
        if store.server is not None:
            told = ", ".join(store.env)
            yield f"`stores.{store.name}`: Atoll ran this {store.type or 'image'}; start one yourself, move its data, and tell {told or 'the service'} where it is."
        elif isinstance(store.url, SecretRef):
            for variable, template in store.env.items():
                if variable in spec.env and template != "{url}":
                    yield f"`stores.{store.name}`: {variable} is `{template}` of the secret {store.url.name}: fill that in."
        elif "127.0.0.1" in store.url.value or "localhost" in store.url.value:
            yield f"`stores.{store.name}`: in compose its address means the container itself; name the machine, or give the store a container."


def _topics(spec: ServiceSpec) -> Iterator[str]:
    """Nothing of them is needed to run; but nobody checks them any more."""
    for field, topics in (("publishes", spec.publishes), ("consumes", spec.consumes)):
        for topic in topics:
            more = [topic.store and f"in {topic.store}", topic.contract, "from outside" if topic.external else ""]
            told = ", ".join([topic.name, *filter(None, more)])
            yield f"`{field}` {told}: nothing checks who publishes what, and who needs it."


def _times(spec: ServiceSpec) -> Iterator[str]:
    """Durations that were chosen, and that mean something to Atoll alone."""
    usual = ServiceSpec(name="", run=spec.run)
    for field, seconds, before in (
        ("health.stable_for", spec.health.stable_for_s, usual.health.stable_for_s),
        ("stop.drain", spec.stop.drain_s, usual.stop.drain_s),
    ):
        if seconds != before:
            yield f"`{field}` of {seconds:g} s: replicas are replaced without it."


def _build(layout: Layout, spec: ServiceSpec) -> Iterator[str]:
    recipe = layout.recipes.get(spec.name)
    if recipe is None:
        yield "`build`: could not be told (see `atoll deploy`); it is run from its sources as they are."
        recipe = Recipe("command")
    if spec.build.tool:
        yield f"`build.tool` {spec.build.tool}: have this version on the PATH, and choose the image that has it."
    if spec.build.needs:
        yield f"`build.needs`: nothing builds {', '.join(spec.build.needs)} first; do so before `build.sh`."
    if spec.build.inherit or spec.build.passed:
        yield "`build.inherit`, `build.pass`: `build.sh` takes all of the environment of whoever runs it."
    if spec.build.provide:
        yield "`build.provide`: nothing fetches the toolchain; install it where the service is built and runs."
    if spec.build.inputs != ("**",) or spec.build.outputs != ("**",) or spec.build.shared:
        yield "`build.inputs`, `build.shared`, `build.outputs`: the whole folder is copied and kept; a .dockerignore makes it smaller."
    own = spec.image
    if own is not None and own.needs:
        yield f"`image.needs`: nothing makes {', '.join(own.needs)} first, nor copies what it keeps into the context."
    if own is not None and (own.base or own.run_base or own.bases):
        yield "`image.base`, `image.run_base`, `docker.bases`: write them into the FROM of compose.yaml."
    if own is not None and (own.ref or own.dockerfile):
        yield "`image`: in compose only; its own user, working directory and ENTRYPOINT are in force there. The units build."
        return
    if own is not None and (own.context or own.target or own.args):
        yield "`image.context`, `image.target`, `image.args`: compose.yaml does not build by the service's own Dockerfile."
    yield f"The image `{image(recipe)}` is a guess by its builder ({recipe.builder}): pin the version that you mean."


def _probe(field: str, probe: Probe) -> Iterator[str]:
    if probe.kind == "grpc":
        yield f"`{field}`: gRPC's health check is asked as a TCP connection only (grpc_health_probe would do it)."
    if probe.expect:
        yield f"`{field}`: `expect`; a connection that is accepted is taken for an answer."
    if probe.kind == "http" and field == "health.live":
        yield f"`{field}`: nothing restarts a replica that answers badly."


def _failures(failures: Failures) -> Iterator[str]:
    if failures != Failures():
        yield "`failures`: nothing counts them; nginx passes to another server when the connection fails or times out."


def _policy(name: str, policy: EdgePolicy) -> Iterator[str]:
    if policy.retry_on:
        yield f"{name}: `retry_on` {', '.join(policy.retry_on)}."
    if policy.timeout_s and policy.idle_timeout_s != _USUAL.idle_timeout_s:
        yield f"{name}: `idle_timeout` of {policy.idle_timeout_s:g} s, since nginx has one time-out for reading."
    for field in ("max_pending", "max_requests", "retry_budget_pct"):
        if getattr(policy, field) != getattr(_USUAL, field):
            yield f"{name}: `{field.removesuffix('_pct')}`."


def _timers(layout: Layout) -> str:
    return f" systemd/{layout.name}-*.timer" if any(timers(layout)) else ""
