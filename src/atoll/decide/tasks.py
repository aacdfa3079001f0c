"""The graph of tasks: who needs whom, in which order they run, and what is wrong with a graph that has no order.

`decide.validate` and `pipeline` call it. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from atoll.decide.problem import problem
from atoll.model.errors import Problem
from atoll.model.spec import ServiceSpec, WorkspaceSpec
from atoll.model.suggest import did_you_mean
from atoll.model.task import BUILD, task_id


def graph(workspace: WorkspaceSpec) -> Mapping[str, tuple[str, ...]]:
    """Task -> the tasks it needs, all by their ids; every service's build is among them. Needs may name what is not there."""
    return {
        task_id(name, task): tuple(need_id(name, need) for need in needs)
        for name, spec in workspace.services.items()
        for task, needs in _needs(spec, workspace)
    }


def need_id(service: str, need: str) -> str:
    """The id of what a task of `service` calls `need`: `build` is its own service's."""
    return need if "." in need else task_id(service, need)


def check(workspace: WorkspaceSpec) -> Iterator[Problem]:
    """Needs that nobody has, needs of oneself, templates without their need, and circles."""
    needs = graph(workspace)
    for name, spec in workspace.services.items():
        for task, wanted in _needs(spec, workspace):
            field = f"{BUILD}.needs" if task == BUILD else f"tasks.{task}.needs"
            for index, need in enumerate(wanted):
                if need_id(name, need) in needs:
                    continue
                known = {each.removeprefix(f"{name}.") for each in needs}
                fix = did_you_mean(need, known)
                yield problem(spec, f"{field}[{index}]", f'names no task: "{need}"', fix, id="unknown-task")
    known_needs = {task: [need for need in wanted if need in needs] for task, wanted in needs.items()}
    if circle := _circle(known_needs):
        service, _, task = circle[0].partition(".")
        spec = workspace.services[service]
        field = f"{BUILD}.needs" if task == BUILD else f"tasks.{task}.needs"
        shown = " -> ".join(circle)
        yield problem(spec, field, f"goes in a circle: {shown}", "take one of these needs out", id="tasks-in-a-circle")


def _needs(spec: ServiceSpec, workspace: WorkspaceSpec) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield BUILD, spec.build.needs
    for task in workspace.tasks.get(spec.name, ()):
        yield task.name, task.needs


def _circle(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """One circle of needs, beginning and ending with the same task; [] without any."""
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as exc:
        return list(reversed(exc.args[1]))
    return []
