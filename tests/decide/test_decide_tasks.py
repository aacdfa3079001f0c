"""The graph of tasks: who needs whom, and what is wrong with it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from atoll.decide.tasks import Schedule, check, chosen, closure, graph, ranks
from atoll.model.environment import EnvironmentSpec, WorkspaceSpec
from atoll.model.spec import Build, Command, ServiceSpec
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


# --- order --------------------------------------------------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    """Any graph without circles: each task needs some of those before it."""
    count = draw(st.integers(1, 12))
    names = [f"s{number}.t" for number in range(count)]
    return {
        name: tuple(draw(st.lists(st.sampled_from(names[:number]), unique=True, max_size=3))) if number else ()
        for number, name in enumerate(names)
    }


@given(graphs(), st.integers(1, 4), st.data())
def test_each_task_begins_once_after_all_that_it_needs_or_is_skipped_for_one_that_failed(needs, free, data) -> None:
    seconds = {task: data.draw(st.floats(0, 100)) for task in data.draw(st.sets(st.sampled_from(sorted(needs))))}
    schedule = Schedule(needs, ranks(needs, seconds))
    running: list[str] = []
    passed, failed, skipped = set[str](), set[str](), set[str]()
    while schedule.left or running:
        for task in schedule.take(free - len(running)):
            assert passed.issuperset(needs[task])
            assert task not in passed | failed | skipped | set(running)
            running.append(task)
        assert 0 < len(running) <= free, "something can always begin, and never too much"
        task = running.pop(data.draw(st.integers(0, len(running) - 1)))
        good = data.draw(st.booleans())
        (passed if good else failed).add(task)
        for other in schedule.ended(task, good=good):
            assert closure(needs, [other]) & failed
            skipped.add(other)
    assert passed | failed | skipped == set(needs)
    assert {task for task in needs if closure(needs, [task]) & failed} == failed | skipped


@given(graphs(), st.data())
def test_who_is_needed_ranks_above_whoever_waits_for_it(needs, data) -> None:
    seconds = {task: data.draw(st.floats(0.1, 100)) for task in needs}
    found = ranks(needs, seconds)
    for task, wanted in needs.items():
        assert found[task] >= seconds[task]
        assert all(found[need] >= found[task] + seconds[need] - 1e-9 for need in wanted)


def test_the_longest_way_begins_first_and_what_never_ran_is_taken_for_a_middling_one() -> None:
    needs = {"quick.t": (), "long.t": (), "first.t": (), "then.t": ("first.t",), "new.t": ()}
    found = ranks(needs, {"quick.t": 1.0, "long.t": 8.0, "first.t": 2.0, "then.t": 9.0})
    assert found["new.t"] == 8.0
    schedule = Schedule(needs, found)
    assert schedule.take(2) == ["first.t", "long.t"]
    assert schedule.take(9) == ["new.t", "quick.t"]


def test_a_stopped_schedule_begins_nothing() -> None:
    schedule = Schedule({"a.t": (), "b.t": ("a.t",), "c.t": ()}, {"a.t": 2.0, "c.t": 1.0})
    assert schedule.take(1) == ["a.t"]
    assert sorted(schedule.stop()) == ["b.t", "c.t"]
    assert (schedule.take(9), schedule.ended("a.t", good=True), list(schedule.left)) == ([], [], [])


def test_placeholders_name_what_is_needed_and_keeps_something() -> None:
    def said(needs: tuple[str, ...], text: str, outputs: tuple[str, ...] = ()) -> list[str]:
        made = workspace({"orders.gen": (), "orders.test": needs})
        gen = Task(name="gen", outputs=outputs)
        test = Task(name="test", needs=needs, steps=(Command(shell=text),))
        return [f"{each.what} / {each.fix}" for each in check(replace(made, tasks={"orders": (gen, test)}))]

    assert said(("build",), "awk '{print}' {needs.build}/a ${HOME}") == []
    assert said(("gen",), "{needs.gen}", ("x",)) == []
    assert said(("build",), "{needs.biuld}/a") == [
        "tasks.test.run has {needs.biuld}, which it does not need / did you mean 'build'?"
    ]
    assert said((), "{needs.build}/a") == [
        'tasks.test.run has {needs.build}, which it does not need / add it: needs = ["build"]'
    ]
    assert said(("gen",), "{needs.gen}") == [
        "tasks.test.run has {needs.gen}, which keeps nothing / say what gen keeps: outputs"
    ]


def test_results_of_a_task_in_the_work_tree_are_nobodys() -> None:
    made = replace(workspace({"orders.test": ()}), tasks={"orders": (Task(name="t", in_place=True, outputs=("x",)),)})
    (said,) = check(made)
    assert (said.id, said.field) == ("fields-contradict", "tasks.t.outputs")


# --- what a person means ------------------------------------------------------------------------------------------

TASKS = ("orders.build", "orders.test", "orders.lint", "cart.build", "cart.test")


@pytest.mark.parametrize(
    ("named", "kinds", "meant"),
    [
        ((), (), TASKS),
        (("cart",), (), ("cart.build", "cart.test")),
        ((), ("test", "lint"), ("orders.test", "orders.lint", "cart.test")),
        (("orders",), ("test",), ("orders.test",)),
        (("orders.lint", "cart"), ("test",), ("orders.lint", "cart.test")),
    ],
)
def test_services_stand_for_their_tasks(named, kinds, meant) -> None:
    assert tuple(chosen(TASKS, named, kinds)) == meant
