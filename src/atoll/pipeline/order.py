"""One task, fully said: its key, what the key stands for, and what to run. A task is a build with other steps.

`work` and `making` order what lies in a clean copy, `keys` what lies in the work tree; for the same bytes both get the
same key, since both come through `order`.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from atoll.decide.tasks import has_build, image_needs, need_id
from atoll.model.building import Toolchain
from atoll.model.environment import WorkspaceSpec
from atoll.model.errors import UserError
from atoll.model.spec import Build, ImageSpec, ServiceSpec
from atoll.model.task import BUILD, IMAGE, Task, task_id
from atoll.pipeline.artifacts import Artifacts
from atoll.pipeline.detect import TOOLCHAINS, Plan, plan
from atoll.pipeline.environment import build_environment
from atoll.pipeline.globs import EVERYTHING, matcher
from atoll.pipeline.inputs import Entry, Input, check_entries, select, walk_trouble
from atoll.pipeline.key import Manifest, key_of
from atoll.pipeline.scope import Scoped, cut, is_by_hand, scope_of
from atoll.pipeline.toolchains import Chosen, Toolchains, asked_language
from atoll.pipeline.tools import Tools, this_platform

# The run description is no input: changing it needs no rebuild.
OURS = frozenset({"service.toml", "atoll.toml"})
IN_PLACE = (
    "in place"  # in a manifest, as the builder: what passes in the work tree was not shown to pass in a clean copy
)


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """A task of a service. `spec.build` says what this task runs, whichever it is."""

    spec: ServiceSpec
    task: Task
    service: ServiceSpec  # as its file says it: what the task shares with the build

    @property
    def id(self) -> str:
        """`orders.test`."""
        return task_id(self.spec.name, self.task.name)

    @property
    def name(self) -> str:
        """As a person calls it: a build by its service."""
        return self.spec.name if self.task.name == BUILD else self.id

    @property
    def image(self) -> ImageSpec | None:
        """How to make it, of the task that makes the service's image; None of every other."""
        return self.service.image if self.task.name == IMAGE else None

    @property
    def needs(self) -> Mapping[str, str]:
        """What it needs: as it is called in `{needs.NAME}` -> id."""
        return {need: need_id(self.spec.name, need) for need in self.task.needs}


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a task, fully said."""

    key: str
    manifest: Manifest
    plan: Plan
    files: frozenset[str]
    env: Mapping[str, str]  # variables of its steps: of the toolchain, declared and taken over
    at_run: Mapping[str, str]  # what the finished service needs of the toolchain, like Builder.command_env


class Kit(msgspec.Struct, frozen=True, kw_only=True):
    """What the orders of one call are made with."""

    root: Path  # of the workspace
    tools: Tools
    toolchains: Toolchains
    path: str  # the PATH of tasks
    caller: Mapping[str, str]  # the environment of the caller, of which tasks get what they name


def kit(
    root: Path, place: Artifacts, homes: Callable[[Toolchain], Iterable[str]], caller: Mapping[str, str] = os.environ
) -> Kit:
    """The kit of a call.

    Args:
        root: the workspace's folder.
        place: the artifacts folder: what tools said of themselves is remembered there.
        homes: the home folders of a language's toolchains that were fetched for the workspace.
        caller: the environment of the call.
    """
    environment = build_environment(caller, {}, os.fspath(place.staging))
    return Kit(
        root=root.absolute(),
        tools=Tools(place.cache / "tools", environment),
        toolchains=Toolchains(environment, homes),
        path=environment["PATH"],
        caller=caller,
    )


# What builds and tasks say alike: steps, inputs, outputs and all that these depend on.
_ALIKE = tuple(name for name in Task.__struct_fields__ if name in Build.__struct_fields__)


def _alike(said: Build | Task) -> dict[str, Any]:
    return {name: getattr(said, name) for name in _ALIKE}


def build_of(spec: ServiceSpec) -> Work:
    """The build of a service, as a task."""
    return Work(spec=spec, task=Task(name=BUILD, **_alike(spec.build)), service=spec)


def task_of(spec: ServiceSpec, task: Task) -> Work:
    """A task of a service: its build, with other steps. Builder, toolchain and context stay those of the build."""
    build = msgspec.structs.replace(spec.build, **_alike(task))
    return Work(spec=msgspec.structs.replace(spec, build=build), task=task, service=spec)


def image_of(spec: ServiceSpec, image: ImageSpec) -> Work:
    """The image of a service, as a task. What its build is told (variables, time limit), holds for it, too."""
    from atoll.pipeline import images  # few services are images, and whoever has none shall not wait for it

    build = spec.build
    task = Task(
        name=IMAGE,
        needs=image_needs(spec, image),
        outputs=images.OUTPUTS,
        inherit=build.inherit,
        passed=build.passed,
        timeout_s=build.timeout_s,
    )
    service = msgspec.structs.replace(
        spec, build=msgspec.structs.replace(build, context=image.context or build.context)
    )
    kept = msgspec.structs.replace(service.build, needs=task.needs, outputs=task.outputs)
    return Work(spec=msgspec.structs.replace(service, build=kept), task=task, service=service)


def deployed_of(spec: ServiceSpec) -> Work:
    """The task whose result is deployed."""
    return build_of(spec) if spec.image is None else image_of(spec, spec.image)


def works_of(workspace: WorkspaceSpec) -> dict[str, Work]:
    """Every task of the workspace by its id, builds among them."""
    works: dict[str, Work] = {}
    for name, spec in workspace.worked_on.items():
        builds = (build_of(spec),) if has_build(workspace, name) else ()
        made = (image_of(spec, spec.image),) if spec.image else ()
        for work in (*builds, *made, *(task_of(spec, task) for task in workspace.tasks.get(name, ()))):
            works[work.id] = work
    return works


def folder_of(work: Work, root: Path) -> Path:
    """The folder whose files go in."""
    return Path(os.path.normpath(root / work.spec.folder / work.spec.build.context))


def files_of(work: Work, root: Path, artifacts: Path) -> Scoped:
    """The files that go in, cut to what the service reaches. Raises UserError like `inputs.select`.

    A repository's top, or a context above the service, holds others': theirs are no input.
    """
    folder = folder_of(work, root)
    found = select(
        folder,
        patterns_of(work),
        root=Path(os.path.normpath(root / work.spec.root)),
        skip=OURS,
        artifacts=artifacts,
    )
    return narrowed(work, found if is_alone(work) else [entry for entry in found if not is_ours(entry.path)], folder)


def is_alone(work: Work) -> bool:
    """Whether nothing but the service lies in the folder: a repository's top, or a context above it, holds others', too."""
    return work.spec.build.context == "." and work.spec.folder != work.spec.root


def is_whole(work: Work) -> bool:
    """Whether all that its patterns mean goes in as it lies there, whatever it says: nothing is cut, nothing rewritten."""
    if work.image is not None:
        return False
    says = work.task.name != BUILD and work.task.inputs != EVERYTHING
    return is_alone(work) or says or is_by_hand(work.service)


def is_ours(path: str) -> bool:
    """Whether a file is a run description, of whichever service."""
    return path.rpartition("/")[2] in OURS


def narrowed(work: Work, found: list[Entry], folder: Path, names: frozenset[str] | None = None) -> Scoped:
    """What goes in of the files of the context `folder` that `patterns_of` means; `names` are their paths.

    Raises UserError when one of them cannot: what others have in a context that they share stops nobody else.
    """
    scoped = _narrowed(work, found, folder, names)
    try:
        check_entries(folder, scoped.entries)
    except OSError as exc:
        if trouble := walk_trouble(exc, os.fspath(folder)):
            raise trouble from exc
        raise
    return scoped


def _narrowed(work: Work, found: list[Entry], folder: Path, names: frozenset[str] | None) -> Scoped:
    if work.image is not None:
        return _for_image(work, work.image, found, folder)
    if is_whole(work):
        return Scoped(found)
    scope = scope_of(work.service, names or frozenset(entry.path for entry in found), folder)
    return Scoped(found) if scope is None else cut(work.service, found, folder, scope)


def _for_image(work: Work, image: ImageSpec, found: list[Entry], folder: Path) -> Scoped:
    """What Docker gets to see: for a Dockerfile of one's own all of the context, for a generated one what the build gets."""
    from atoll.pipeline import images

    if image.ref:
        return Scoped([])
    own = images.dockerfile_in(work.service, image, {entry.path for entry in found})
    left = images.ignored(found, own, folder)
    if own:
        return Scoped(left)
    if work.service.build.inputs != EVERYTHING:
        meant = matcher(work.service.build.inputs)
        found = [entry for entry in found if meant(entry.path)]
    # Of all files: a workspace that names what is ignored would not be understood, or be built.
    scope = None if is_alone(work) else scope_of(work.service, frozenset(entry.path for entry in found), folder)
    kept = {entry.path for entry in left}
    if scope is None:
        return Scoped([entry for entry in found if entry.path in kept])
    scope = msgspec.structs.replace(scope, reads=(*scope.reads, images.IGNORE))
    whole = cut(work.service, found, folder, scope)
    return whole._replace(entries=[entry for entry in whole.entries if entry.path in kept])


def patterns_of(work: Work) -> tuple[str, ...]:
    """Globs of the files that go in, relative to the context.

    A task that says none gets all that the service has: in a context above it, what the build gets and its own folder.
    An image is made of whatever its Dockerfile names, which only Docker can tell.
    """
    if work.image is not None:
        return EVERYTHING
    built, inside = work.service.build.inputs, work.service.inside
    if work.task.name == BUILD or work.task.inputs != EVERYTHING or built == EVERYTHING or inside == ".":
        return work.task.inputs
    return (*built, f"{inside}/**")


def order(
    work: Work, taken: tuple[Input, ...], folder: Path, *, needs: Mapping[str, str], kit: Kit, fresh: bool
) -> Order:
    """What is to be done with the inputs `taken` that lie in `folder`.

    Args:
        work: the task.
        taken: its inputs.
        folder: where they lie.
        needs: id -> key, of everything that it needs.
        kit: what orders are made with.
        fresh: whether tools are asked again what they remembered to have said.

    Raises:
        UserError: it cannot be told what to run; Missing when that is for want of a toolchain.
    """
    spec, task = work.spec, work.task
    files = frozenset(item.path for item in taken)
    if work.image is not None:
        return _image_order(work, work.image, taken, folder, needs=needs, kit=kit)
    planned = plan(spec, files, folder)
    toolchain = asked_language(spec, TOOLCHAINS) or planned.builder.toolchain
    chosen = kit.toolchains.choose(spec, toolchain, kit.root) if toolchain else Chosen()
    env = chosen.environment(spec.build.env, kit.path)
    tools = kit.tools.identify(planned.tools, folder, taken, env, fresh=fresh)
    if chosen.found is not None:
        tools["toolchain"] = f"{chosen.found.version} in {chosen.found.bin}"
    manifest = Manifest(
        task=task.name,
        builder=IN_PLACE if task.in_place else planned.builder.name,
        recipe=planned.builder.recipe,
        steps=planned.steps,
        outputs=spec.build.outputs,
        env=spec.build.env,
        tools=tools,
        platform=this_platform(),
        inputs=taken,
        needs={id: needs[id] for id in work.needs.values()},
        inherited=inherited(task, kit.caller),
    )
    return Order(
        key=key_of(manifest),
        manifest=manifest,
        plan=planned,
        files=files,
        env={**taken_over(task, kit.caller), **env},
        at_run=chosen.at_run,
    )


def _image_order(
    work: Work, image: ImageSpec, taken: tuple[Input, ...], folder: Path, *, needs: Mapping[str, str], kit: Kit
) -> Order:
    """The order of an image. What compiles is in an image, too: no tool of this machine counts."""
    from atoll.pipeline import images

    files = frozenset(item.path for item in taken)
    planned = images.plan_image(work.service, image, files, folder, needs=tuple(work.needs), root=kit.root)
    manifest = Manifest(
        task=IMAGE,
        builder=images.PREBUILT if image.ref else planned.builder.name,
        recipe=images.RECIPE,
        steps=planned.steps,
        outputs=images.OUTPUTS,
        env={},
        tools={},
        platform=images.platform(),
        inputs=taken,
        needs={id: needs[id] for id in work.needs.values()},
        inherited=inherited(work.task, kit.caller),
    )
    env = taken_over(work.task, kit.caller)
    return Order(key=key_of(manifest), manifest=manifest, plan=planned, files=files, env=env, at_run={})


def taken_over(task: Task, caller: Mapping[str, str]) -> dict[str, str]:
    """The caller's variables that a task asks for."""
    return {name: caller[name] for name in (*task.inherit, *task.passed) if name in caller}


def inherited(task: Task, caller: Mapping[str, str]) -> dict[str, str]:
    """Variable -> SHA-256 of its value, of those whose values count; "" for one that is not set."""
    return {
        name: hashlib.sha256(os.fsencode(caller[name])).hexdigest() if name in caller else "" for name in task.inherit
    }


def trouble_of(exc: UserError) -> str:
    """An error in one line, for the task that it befell."""
    return f"{exc.what}: {exc.why}" if exc.why else exc.what
