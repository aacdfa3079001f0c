"""Artifacts that no release needs are removed; what any environment's releases need stays, whether its daemon runs or not."""

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from atoll.app.artifacts import collect_artifacts, depot, tidy_artifacts
from atoll.model.cache import CacheSpec
from atoll.model.environment import EnvironmentSpec
from atoll.model.errors import UserError
from atoll.model.rows import Change
from atoll.model.spec import ServiceSpec
from atoll.model.state import Artifact, Intent
from atoll.model.wire_artifacts import ArtifactOffer, SweepRequest
from atoll.pipeline.artifacts import Artifacts, seal
from atoll.pipeline.build import build_all
from atoll.pipeline.cache.zstd import compress
from atoll.pipeline.ship.sending import Sending
from atoll.pipeline.ship.survey import survey
from atoll.pipeline.tools import this_platform
from atoll.pipeline.work import Site
from atoll.store.needed import wanted
from atoll.store.sqlite import FILE, SqliteStore
from atoll.testing.store_suite import a_release
from atoll.workspace.places import Places

ALL = CacheSpec(max_age_s=3600.0)


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    monkeypatch.setenv("ATOLL_HOME", str(tmp_path / "home"))
    (tmp_path / "ws").mkdir()
    places = Places(tmp_path / "ws", "local")
    with tempfile.TemporaryDirectory(prefix="atl-") as run:  # short: sockets would lie in it
        monkeypatch.setenv("ATOLL_RUN", run)
        places.create()
        yield places


async def built(at: Places, *names: str) -> dict[str, str]:
    """Artifacts that were not used for three hours: service -> key."""
    for name in names:
        (at.root / name).mkdir()
        (at.root / name / "file").write_text(name)
    specs = [ServiceSpec(name=name, folder=name) for name in names]
    site = Site(root=at.root, artifacts=at.artifacts, toolchains=at.toolchains, records=at.records)
    made = await build_all(specs, site)
    keys = {name: artifact.key for name, artifact in made.items()}
    for key in keys.values():
        os.utime(Artifacts(at.artifacts).records / key, (then := time.time() - 3 * 3600, then))
    return keys


async def test_what_a_release_of_any_environment_needs_stays(at: Places) -> None:
    keys = await built(at, "used", "elsewhere", "left")
    for name, environment in (("used", "local"), ("elsewhere", "production")):
        places = Places(at.root, environment)
        places.create()
        store = SqliteStore(places.state)
        await store.lead()
        release = a_release(name)
        release = replace(release, artifact=replace(release.artifact, key=keys[name]))
        await store.commit(Change(puts=(release,)))
        if environment == "production":
            await store.close()  # its daemon is away
    assert collect_artifacts(at, ALL, plan=True).removed == (keys["left"],)
    assert at.artifacts.joinpath(keys["left"]).is_dir()
    tidy_artifacts(at, ALL)
    assert {name for name, key in keys.items() if at.artifacts.joinpath(key).is_dir()} == {"used", "elsewhere"}


async def test_by_itself_it_looks_once_a_day(at: Places) -> None:
    first = await built(at, "first")
    tidy_artifacts(at, ALL)
    assert not at.artifacts.joinpath(first["first"]).exists()
    second = await built(at, "second")
    tidy_artifacts(at, ALL)
    assert at.artifacts.joinpath(second["second"]).is_dir()


async def test_nothing_is_removed_while_an_environment_cannot_be_read(at: Places) -> None:
    keys = await built(at, "left")
    (at.state / FILE).write_text("no database")
    with pytest.raises(UserError, match="nothing is removed") as caught:
        collect_artifacts(at, ALL)
    assert "atoll doctor --env local" in caught.value.fix
    tidy_artifacts(at, ALL)
    assert at.artifacts.joinpath(keys["left"]).is_dir()


async def test_an_environment_whose_first_daemon_was_killed_at_its_start_needs_nothing(at: Places) -> None:
    keys = await built(at, "left")
    (at.state / FILE).touch()
    assert collect_artifacts(at, ALL).removed == (keys["left"],)


async def test_a_daemon_that_takes_an_artifact_removes_what_no_release_needs(at: Places, tmp_path: Path) -> None:
    keys = await built(at, "used", "left")
    store = SqliteStore(at.state)
    await store.lead()
    release = a_release("used")
    await store.commit(Change(puts=(replace(release, artifact=replace(release.artifact, key=keys["used"])),)))
    await store.close()
    folder = tmp_path / "elsewhere" / ("a" * 40)
    folder.mkdir(parents=True)
    (folder / "program").write_text("print()")
    digest, _ = seal(folder, lambda _: True, threading.Event())
    made = Artifact(key=folder.name, digest=digest, builder="command", platform=this_platform(), path=str(folder))
    surveyed = survey(made, None, threading.Event())
    offer = ArtifactOffer(
        service="new", artifact=made, tree=compress(surveyed.tree.encoded()), max_age_s=3600.0, max_bytes=1 << 30
    )
    there = depot(at.state, EnvironmentSpec())
    view = await there.take(offer)
    Sending(surveyed.files, lambda body: asyncio.run(there.keep(body)), lambda *_: None).send(view.missing, view.begun)
    assert (await there.take(offer)).artifact is not None
    kept = Artifacts(at.artifacts).keys()
    assert kept == {keys["used"], folder.name}


async def test_a_daemon_that_is_asked_removes_them_and_a_plan_only_tells(at: Places) -> None:
    keys = await built(at, "used", "left")
    store = SqliteStore(at.state)
    await store.lead()
    release = a_release("used")
    await store.commit(Change(puts=(replace(release, artifact=replace(release.artifact, key=keys["used"])),)))
    await store.close()
    ours = depot(at.state, EnvironmentSpec())
    request = SweepRequest(max_age_s=ALL.max_age_s, plan=True)
    planned = await ours.sweep(request)
    assert (planned.removed, planned.freed_bytes > 0) == (1, True)
    assert at.artifacts.joinpath(keys["left"]).is_dir()
    assert await ours.sweep(replace(request, plan=False)) == planned
    assert not at.artifacts.joinpath(keys["left"]).exists()
    assert at.artifacts.joinpath(keys["used"]).is_dir()
    assert (await ours.sweep(replace(request, plan=False))).removed == 0


async def test_which_services_shall_run_is_read_beside_a_daemon(at: Places) -> None:
    assert wanted(at.state) == frozenset()
    store = SqliteStore(at.state)
    await store.lead()
    await store.commit(Change(puts=(Intent(service="orders", generation=1, target=3), Intent(service="web"))))
    assert wanted(at.state) == {"orders"}
    await store.close()
