"""The graph of tasks: who needs whom, and what is wrong with it."""

from atoll.decide.tasks import check, graph
from atoll.model.spec import Build, Command, EnvironmentSpec, ServiceSpec, WorkspaceSpec
from atoll.model.task import Task


def workspace(needs: dict[str, tuple[str, ...]]) -> WorkspaceSpec:
    """Tasks as `orders.test: needs`; the services are those that are named."""
    services: dict[str, ServiceSpec] = {}
    tasks: dict[str, tuple[Task, ...]] = {}
    for id, wanted in needs.items():
        name, _, task = id.partition(".")
        services.setdefault(name, ServiceSpec(name=name, folder=name, run=Command(shell="x")))
        if task == "build":
            services[name] = ServiceSpec(name=name, folder=name, run=Command(shell="x"), build=Build(needs=wanted))
        else:
            tasks[name] = (*tasks.get(name, ()), Task(name=task, needs=wanted))
    return WorkspaceSpec(name="w", root="/w", environment=EnvironmentSpec(), services=services, tasks=tasks)


def test_a_need_without_a_service_is_a_task_of_the_same_service() -> None:
    found = graph(workspace({"orders.test": ("build", "catalog.build"), "catalog.build": ()}))
    assert found == {
        "orders.build": (),
        "orders.test": ("orders.build", "catalog.build"),
        "catalog.build": (),
    }


def test_a_need_that_nobody_has_is_told_with_the_near_one() -> None:
    (said,) = check(workspace({"orders.test": ("biuld",)}))
    assert (said.file, said.field, said.id) == ("orders/service.toml", "tasks.test.needs[0]", "unknown-task")
    assert said.fix == "did you mean 'build'?"


def test_a_circle_across_services_is_told_once_and_whole() -> None:
    (said,) = check(workspace({"a.build": ("b.gen",), "b.gen": ("a.build",), "c.test": ("a.build",)}))
    assert said.id == "tasks-in-a-circle"
    assert sorted(said.what.partition(": ")[2].split(" -> ")[1:]) == ["a.build", "b.gen"]


def test_a_task_that_needs_itself_is_a_circle() -> None:
    (said,) = check(workspace({"a.test": ("test",)}))
    assert said.what.endswith("a.test -> a.test")
