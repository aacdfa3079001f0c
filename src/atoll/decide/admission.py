"""May this release start at all? Asked before anything is touched.

The daemon calls `admit` before it numbers and starts a release. Nothing here looks at the machine; free memory is an
argument.
"""

from collections.abc import Mapping, Sequence

from atoll.model.errors import Refused
from atoll.model.spec import Route
from atoll.model.state import Release

CLOSE_PCT = 80  # of free memory: past this a person is told, since page cache and other programs need some


def admit(
    candidate: Release,
    live: Mapping[str, Sequence[Release]],
    machine_free_bytes: int | None,
    replicas: int,
    *,
    containers: bool = False,
) -> list[str]:
    """What a person should know before `replicas` of the candidate start, as sentences.

    `live` maps every service to its releases that run; `machine_free_bytes` is None when memory is not to be judged
    (the replicas run already, or nobody knows); `containers` is whether the engine runs images. Raises Refused for a route that
    another service has, when the limits do not fit, and for what was built for another engine.
    """
    _refuse_other_kind(candidate, containers=containers)
    _refuse_clashes(candidate, live)
    return [*_memory(candidate, live, machine_free_bytes, replicas), *_calls(candidate, live)]


def _refuse_other_kind(candidate: Release, *, containers: bool) -> None:
    """A release of before the engine was changed, or of files that name another engine than the one that runs."""
    if (candidate.artifact.image is not None) == containers:
        return
    built, runs = ("files", "images") if containers else ("an image", "processes")
    raise Refused(
        f"{candidate.name} cannot run here: it was built as {built}, and this environment runs {runs}",
        "a release keeps what was built for the engine that it was made for",
        f"`atoll deploy {candidate.service}` makes one for this engine; if atoll.toml names another `engine` than the one that runs, "
        "`atoll down` first, then `atoll up`",
        id="engine-changed",
    )


def _refuse_clashes(candidate: Release, live: Mapping[str, Sequence[Release]]) -> None:
    mine = {_place(route): route for route in candidate.spec.routes}
    for service, releases in live.items():
        if service == candidate.service:
            continue
        for release in releases:
            for route in release.spec.routes:
                if _place(route) in mine:
                    raise Refused(
                        f"{candidate.service} cannot take the route {_written(route)}",
                        f"{release.name} has it, and a request can go to one service only",
                        f"change the route of {candidate.service}, or deploy {service} without it first (or `atoll down {service}`)",
                        id="route-taken",
                    )


def _place(route: Route) -> tuple[str, str]:
    return ((route.host or "").lower(), route.path.rstrip("/"))


def _written(route: Route) -> str:
    return f"'{route.host or ''}{route.path}'"


def _memory(
    candidate: Release, live: Mapping[str, Sequence[Release]], free_bytes: int | None, replicas: int
) -> list[str]:
    limit = candidate.spec.limits.memory_bytes
    if limit is None or free_bytes is None or replicas == 0:
        return []
    need = limit * replicas
    own = [release for release in live.get(candidate.service, ()) if release.n != candidate.n]
    beside = ""
    if own and candidate.spec.overlap:
        beside = f", next to {own[-1].name} that runs until the switch is done"
    elif own:
        # Stopped before the candidate starts, so what it may use is free by then.
        need -= max((release.spec.limits.memory_bytes or 0) * release.spec.replicas for release in own)
    sizes = f"{replicas} x {_size(limit)}{beside}; the machine has {_size(free_bytes)} free"
    if need > free_bytes:
        raise Refused(
            f"{candidate.name} does not fit into memory",
            f"it may use {sizes}",
            f"lower [limits] memory or replicas of {candidate.service}, stop another service, "
            "or set `overlap = false` to stop the old release first",
            id="does-not-fit",
        )
    if need * 100 > free_bytes * CLOSE_PCT:
        return [f"{candidate.name} may use nearly all free memory: {sizes}"]
    return []


def _calls(candidate: Release, live: Mapping[str, Sequence[Release]]) -> list[str]:
    warnings: list[str] = []
    for call in candidate.spec.calls:
        if call.url is not None or call.optional or call.store:
            continue
        releases = live.get(call.callee, ())
        if not releases:
            warnings.append(
                f"{candidate.service} calls {call.callee}, which does not run: its calls get 503 until then"
            )
        elif call.port and all(release.spec.port(call.port) is None for release in releases):
            warnings.append(f"{candidate.service} calls port '{call.port}' of {call.callee}, which {call.callee} lacks")
    return warnings


def _size(count: int) -> str:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}" if count < 1000 * factor else f"{count // factor} {unit}"
    return f"{count} B"
