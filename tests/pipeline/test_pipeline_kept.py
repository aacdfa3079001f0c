"""Builds and tasks with a cache: what was made once is not made again, wherever that was, and nothing false is used."""

import asyncio
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from atoll.model.cache import CacheSpec, Remote
from atoll.model.environment import EnvironmentSpec, WorkspaceSpec
from atoll.model.errors import BuildFailed
from atoll.model.spec import ServiceSpec
from atoll.model.state import Artifact
from atoll.model.task import Task
from atoll.pipeline.artifacts import remove_tree
from atoll.pipeline.build import build_all
from atoll.pipeline.kept import Kept
from atoll.pipeline.making import Made
from atoll.pipeline.order import works_of
from atoll.pipeline.records import Records
from atoll.pipeline.work import Crew


class Machine:
    """The workshop's workspace on one machine: an artifacts folder, records and a cache of its own."""

    def __init__(self, workshop, name: str = "one", namespace: str = "trusted", **spec: object) -> None:
        self.workshop, self.namespace = workshop, namespace
        self.home = workshop.root / f".{name}"
        self.site = workshop.site.__class__(
            root=workshop.root,
            artifacts=self.home / "artifacts",
            toolchains=self.home / "toolchains",
            records=self.home / "records.db",
        )
        self.spec = CacheSpec(**spec)
        self.told: list[str] = []

    def kept(self) -> Kept:
        return Kept(
            self.home / "cache",
            self.spec,
            workspace=self.workshop.root,
            namespace=self.namespace,
            tell=self.told.append,
        )

    def build(self, spec: ServiceSpec) -> Artifact:
        kept = self.kept()
        self.workshop.progress.clear()
        made = asyncio.run(
            build_all([spec], self.site, namespace=self.namespace, on_progress=self.workshop.progress.append, kept=kept)
        )[spec.name]
        kept.close()
        assert not isinstance(made, BuildFailed), made
        return made

    def run(self, workspace: WorkspaceSpec, wanted: Collection[str]) -> Mapping[str, Made]:
        kept = self.kept()

        async def work() -> Mapping[str, Made]:
            crew = Crew(works_of(workspace), self.site, namespace=self.namespace, told=self.told.append, kept=kept)
            with crew:
                await crew.look(wanted)
                await crew.run(wanted)
                return dict(crew.made)

        made = asyncio.run(work())
        kept.close()
        return made

    def forget_artifacts(self) -> None:
        remove_tree(self.site.artifacts)

    def phases(self) -> list[str]:
        return [progress.phase for progress in self.workshop.progress]


@pytest.fixture
def counted(workshop):
    """A service whose build counts how often it ran, outside of what it makes."""
    count = workshop.root / "count"
    spec = workshop.spec("orders", f"echo x >> {count}; date +%N > made")
    workshop.write("orders/a", "1")
    return spec, lambda: len(count.read_text().splitlines())


def test_a_build_whose_artifact_is_gone_is_restored_to_the_same_place(workshop, counted) -> None:
    spec, runs = counted
    machine = Machine(workshop)
    first = machine.build(spec)
    text = (Path(first.path) / "made").read_text()
    machine.forget_artifacts()
    again = machine.build(spec)
    assert again == first
    assert (Path(again.path) / "made").read_text() == text
    assert runs() == 1
    cached = [progress for progress in workshop.progress if progress.phase == "cached"]
    assert cached[0].label == "from the cache"
    assert machine.build(spec) == first, "and is found in the artifacts folder from then on"
    assert machine.phases() == ["hashing", "cached"]
    assert machine.told == []


def test_a_restored_artifact_is_read_only_like_one_that_was_built(workshop, counted) -> None:
    spec, _ = counted
    machine = Machine(workshop)
    path = Path(machine.build(spec).path)

    def modes() -> dict[str, int]:
        return {str(each): each.stat().st_mode for each in [path, *path.rglob("*")]}

    built = modes()
    machine.forget_artifacts()
    machine.build(spec)
    assert modes() == built


def test_steps_of_ones_own_are_found_in_the_same_folder_only(workshop, counted) -> None:
    spec, runs = counted
    remote = Remote(kind="directory", path=str(workshop.root / "remote"))
    (workshop.root / "remote").mkdir()
    Machine(workshop, "one", remote=remote).build(spec)
    Machine(workshop, "two", remote=remote).build(spec)
    assert runs() == 2
    machine = Machine(workshop, "one", remote=remote)
    machine.forget_artifacts()
    shutil.rmtree(machine.home / "cache")
    machine.build(spec)
    assert runs() == 2, "as on a runner whose disk is new"
    assert machine.told == []


def test_a_plain_copy_is_found_on_other_machines(workshop) -> None:
    spec = workshop.spec("orders")
    workshop.write("orders/a", "1")
    (workshop.root / "remote").mkdir()
    remote = Remote(kind="directory", path="remote")  # relative to the workspace
    first = Machine(workshop, "one", remote=remote).build(spec)
    other = Machine(workshop, "two", remote=remote)
    second = other.build(spec)
    assert second.digest == first.digest
    assert second.path != first.path
    assert "building" not in other.phases()


def test_what_is_damaged_is_told_and_built_again(workshop, counted) -> None:
    spec, runs = counted
    machine = Machine(workshop)
    machine.build(spec)
    machine.forget_artifacts()
    for content in (machine.home / "cache/v1/contents").rglob("*.zst"):
        content.write_bytes(content.read_bytes()[:-2])
    machine.build(spec)
    assert runs() == 2
    assert len(machine.told) == 1
    assert "it is dropped and made anew" in machine.told[0]
    machine.forget_artifacts()
    machine.build(spec)
    assert runs() == 2, "and was kept anew"


def test_a_pull_requests_build_is_not_taken_by_a_trusted_run(workshop, counted) -> None:
    spec, runs = counted
    machine, request = Machine(workshop), Machine(workshop, namespace="pr-7")
    request.build(spec)
    assert runs() == 1
    machine.build(spec)
    assert runs() == 2, "neither from the artifacts folder nor from the cache"
    machine.forget_artifacts()
    request.build(spec)
    assert runs() == 2, "a pull request believes what is trusted"


def workspace(workshop, **tasks: Task) -> WorkspaceSpec:
    spec = workshop.spec("orders", "echo built > made")
    return WorkspaceSpec(
        name="shop",
        root=str(workshop.root),
        environment=EnvironmentSpec(name="local"),
        services={"orders": spec},
        tasks={"orders": tuple(tasks.values())},
    )


def task(workshop, name: str, **fields: object) -> Task:
    from atoll.model.command import Command

    count = workshop.root / f"count-{name}"
    return Task(name=name, steps=(Command(shell=f"echo x >> {count}"),), **fields)


def test_a_test_that_passed_elsewhere_is_green_and_what_it_needs_is_not_built(workshop) -> None:
    workshop.write("orders/a", "1")
    (workshop.root / "remote").mkdir()
    remote = Remote(kind="directory", path="remote")
    shop = workspace(workshop, test=task(workshop, "test", needs=("build",)))
    first = Machine(workshop, "one", remote=remote).run(shop, ["orders.test"])
    assert not first["orders.test"].cached
    machine = Machine(workshop, "two", remote=remote)
    made = machine.run(shop, ["orders.test"])
    assert made["orders.test"].cached
    assert made["orders.test"].source == str(workshop.root / "remote")
    assert "orders.build" not in made
    assert not list(machine.site.artifacts.glob("*/made"))
    with Records(machine.site.records) as records:
        green = records.green("orders.test")
    assert green is not None
    assert green.key == made["orders.test"].key
    shutil.rmtree(workshop.root / "remote")
    again = machine.run(shop, ["orders.test"])
    assert again["orders.test"].cached, "from now on without asking"
    assert machine.told == []


@pytest.mark.parametrize("fields", [{"cache": False}, {"in_place": True}])
def test_what_depends_on_more_than_its_inputs_is_not_kept(workshop, fields: dict[str, bool]) -> None:
    workshop.write("orders/a", "1")
    (workshop.root / "remote").mkdir()
    remote = Remote(kind="directory", path="remote")
    shop = workspace(workshop, smoke=task(workshop, "smoke", **fields))
    for name in ("one", "two"):
        Machine(workshop, name, remote=remote).run(shop, ["orders.smoke"])
    assert (workshop.root / "count-smoke").read_text() == "x\nx\n"
    assert list((workshop.root / "remote").iterdir()) == []
