"""The graph of tasks: who needs whom, in which order they run, and what is wrong with a graph that has no order.

`decide.validate` and `pipeline` call it. Pure.
"""

import heapq
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from atoll.decide.problem import problem
from atoll.model.environment import WorkspaceSpec
from atoll.model.errors import NotFound, Problem
from atoll.model.spec import ImageSpec, ServiceSpec
from atoll.model.suggest import did_you_mean
from atoll.model.task import BUILD, IMAGE, task_id

PLACEHOLDER = re.compile(r"\{needs\.([A-Za-z0-9_.-]+)\}")


def graph(workspace: WorkspaceSpec) -> Mapping[str, tuple[str, ...]]:
    """Task -> the tasks it needs, all by their ids, builds among them. Needs may name what is not there."""
    return {
        task_id(name, task): tuple(need_id(name, need) for need in needs)
        for name, spec in workspace.worked_on.items()
        for task, needs in _needs(spec, workspace)
    }


def has_build(workspace: WorkspaceSpec, name: str) -> bool:
    """Whether it is built: services always are, a library where its file says how."""
    if name in workspace.services:
        return True
    build = workspace.libraries[name].build
    return bool(build.steps) or build.builder is not None


def image_needs(spec: ServiceSpec, image: ImageSpec) -> tuple[str, ...]:
    """What the image of a service needs: what its build does, unless it says so itself."""
    return image.needs or spec.build.needs


def need_id(service: str, need: str) -> str:
    """The id of what a task of `service` calls `need`: `build` is its own service's."""
    return need if "." in need else task_id(service, need)


def closure(needs: Mapping[str, Collection[str]], wanted: Iterable[str]) -> set[str]:
    """Tasks with all that they need, and what those need."""
    found: set[str] = set()
    todo = list(wanted)
    while todo:
        if (task := todo.pop()) not in found:
            found.add(task)
            todo += needs[task]
    return found


def in_order(needs: Mapping[str, Collection[str]]) -> list[str]:
    """Every task behind what it needs. The graph has no circle: `check` saw to it."""
    return list(TopologicalSorter(needs).static_order())


def ranks(needs: Mapping[str, Collection[str]], seconds: Mapping[str, float]) -> dict[str, float]:
    """How long it takes, in seconds, from a task's begin to the end of all that waits for it: who has most begins first.

    That is the longest way through what follows (upward rank of HEFT, Topcuoglu 2002). A task that never ran is taken
    for a middling one, so that it begins neither last nor before those that are known to be long.
    """
    known = sorted(seconds[task] for task in needs if task in seconds)
    middling = known[len(known) // 2] if known else 1.0
    found: dict[str, float] = {}
    after: dict[str, float] = dict.fromkeys(needs, 0.0)
    for task in reversed(in_order(needs)):
        found[task] = seconds.get(task, middling) + after[task]
        for need in needs[task]:
            after[need] = max(after[need], found[task])
    return found


class Schedule:
    """Which tasks may begin now: those of which all needs have passed, the one with the highest rank first.

    What a failure leads to is decided here, too: whatever needs that task, however far, is skipped.
    """

    def __init__(self, needs: Mapping[str, Collection[str]], ranks: Mapping[str, float]) -> None:
        """Tasks -> what they wait for; a need that is no task of the schedule has passed already."""
        self._waits = {task: {need for need in wanted if need in needs} for task, wanted in needs.items()}
        self._followers: dict[str, list[str]] = {task: [] for task in needs}
        for task, wanted in self._waits.items():
            for need in wanted:
                self._followers[need].append(task)
        self._ranks = ranks
        self._ready = [self._entry(task) for task, wanted in self._waits.items() if not wanted]
        heapq.heapify(self._ready)

    @property
    def left(self) -> Collection[str]:
        """Tasks that have not begun."""
        return self._waits.keys()

    def take(self, free: int) -> list[str]:
        """So many tasks at most that may begin now; they have begun then."""
        taken: list[str] = []
        while self._ready and len(taken) < free:
            task = heapq.heappop(self._ready)[1]
            if task in self._waits:
                del self._waits[task]
                taken.append(task)
        return taken

    def ended(self, task: str, *, good: bool) -> list[str]:
        """A task that was taken has ended; returns which others never begin for it."""
        skipped: list[str] = []
        todo = list(self._followers[task])
        while todo:
            follower = todo.pop()
            if follower not in self._waits:
                continue  # skipped already, for another one
            if good:
                self._waits[follower].discard(task)
                if not self._waits[follower]:
                    heapq.heappush(self._ready, self._entry(follower))
            else:
                del self._waits[follower]
                skipped.append(follower)
                todo += self._followers[follower]
        return skipped

    def stop(self) -> list[str]:
        """Nothing begins any more; returns what had not."""
        left = list(self._waits)
        self._waits.clear()
        return left

    def _entry(self, task: str) -> tuple[float, str]:
        return -self._ranks.get(task, 0.0), task


def chosen(tasks: Collection[str], named: Sequence[str], kinds: Sequence[str] = ()) -> list[str]:
    """The ids that a person means.

    Args:
        tasks: every id.
        named: services, which stand for all that they have, and ids; none are all.
        kinds: names of tasks, such as `test`; none are all.

    Raises:
        NotFound: for a name that is none.
    """
    services = {id.partition(".")[0] for id in tasks}
    names = {id.partition(".")[2] for id in tasks}
    for kind in kinds:
        if kind not in names:
            raise NotFound(
                f"no service has a task '{kind}'",
                f"there are: {', '.join(sorted(names))}",
                did_you_mean(kind, names) or "declare it: [tasks] in service.toml",
                id="unknown-task",
            )
    for name in named:
        if name in services or name in tasks:
            continue
        if "." in name:
            near = did_you_mean(name, tasks) or "`atoll ci --all --plan` lists them"
            raise NotFound(f"there is no task '{name}'", "", near, id="unknown-task")
        near = did_you_mean(name, services) or "write its service.toml"
        raise NotFound(
            f"there is no service '{name}'", "the workspace has none of that name", near, id="unknown-service"
        )
    meant = set(named)
    found = [id for id in tasks if not named or id in meant or id.partition(".")[0] in meant]
    return [id for id in found if not kinds or id.partition(".")[2] in kinds or id in meant]


def check(workspace: WorkspaceSpec) -> Iterator[Problem]:
    """Needs that nobody has, needs of oneself, templates without their need, and circles."""
    needs = graph(workspace)
    for name, spec in workspace.worked_on.items():
        for task, wanted in _needs(spec, workspace):
            field = _needs_field(task)
            for index, need in enumerate(wanted):
                if need_id(name, need) in needs:
                    continue
                known = {each.removeprefix(f"{name}.") for each in needs}
                fix = did_you_mean(need, known)
                yield problem(spec, f"{field}[{index}]", f'names no task: "{need}"', fix, id="unknown-task")
    yield from _placeholders(workspace)
    known_needs = {task: [need for need in wanted if need in needs] for task, wanted in needs.items()}
    if circle := _circle(known_needs):
        service, _, task = circle[0].partition(".")
        spec = workspace.worked_on[service]
        field = _needs_field(task)
        shown = " -> ".join(circle)
        yield problem(spec, field, f"goes in a circle: {shown}", "take one of these needs out", id="tasks-in-a-circle")


def _needs_field(task: str) -> str:
    return f"{task}.needs" if task in {BUILD, IMAGE} else f"tasks.{task}.needs"


def _placeholders(workspace: WorkspaceSpec) -> Iterator[Problem]:
    """`{needs.NAME}` where NAME is not needed, or has nothing to show; results that nobody keeps."""
    outputs = {task_id(name, BUILD): True for name in workspace.worked_on}
    for name, tasks in workspace.tasks.items():
        outputs |= {task_id(name, task.name): bool(task.outputs) for task in tasks}
    for name, spec in workspace.worked_on.items():
        places = [(f"{BUILD}.steps", spec.build.needs, spec.build.steps)]
        places += [(f"tasks.{task.name}.run", task.needs, task.steps) for task in workspace.tasks.get(name, ())]
        for field, needs, steps in places:
            for asked in dict.fromkeys(each for step in steps for each in PLACEHOLDER.findall(step.text)):
                what = f"has {{needs.{asked}}}"
                if asked not in needs:
                    near = did_you_mean(asked, needs) or f'add it: needs = ["{asked}"]'
                    yield problem(spec, field, f"{what}, which it does not need", near, id="unknown-placeholder")
                elif not outputs.get(need_id(name, asked), True):
                    fix = f"say what {asked} keeps: outputs"
                    yield problem(spec, field, f"{what}, which keeps nothing", fix, id="unknown-placeholder")
        for task in workspace.tasks.get(name, ()):
            if task.in_place and task.outputs:
                field = f"tasks.{task.name}.outputs"
                fix = "take one of the two away"
                what = "are kept of a copy, and with in_place there is none"
                yield problem(spec, field, what, fix, id="fields-contradict")


def _needs(spec: ServiceSpec, workspace: WorkspaceSpec) -> Iterator[tuple[str, tuple[str, ...]]]:
    if has_build(workspace, spec.name):
        yield BUILD, spec.build.needs
    if spec.image is not None:
        yield IMAGE, image_needs(spec, spec.image)
    for task in workspace.tasks.get(spec.name, ()):
        yield task.name, task.needs


def _circle(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """One circle of needs, beginning and ending with the same task; [] without any."""
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as exc:
        return list(reversed(exc.args[1]))
    return []
