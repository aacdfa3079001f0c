"""Images that one machine makes and another one takes, by a real registry and with Docker's own credentials."""

import asyncio
import base64
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from registry import MISSING, Registry, registry_in
from tests.pipeline.conftest import Yard

from atoll.model.errors import Refused
from atoll.model.state import Artifact
from atoll.model.wire_artifacts import ArtifactOffer
from atoll.pipeline.artifacts import Artifacts
from atoll.pipeline.collect import Collected, collect
from atoll.pipeline.ship.depot import Depot
from dockerd import Dockerd

HTPASSWD = "ada:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"  # her password is "secret"

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.fixture
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry_in(tmp_path_factory.mktemp("registry")) as one:
        yield one


@pytest.fixture
def locked_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One that only ada may use."""
    folder = tmp_path_factory.mktemp("locked")
    (folder / "htpasswd").write_text(HTPASSWD)
    with registry_in(folder, {"auth": {"htpasswd": {"realm": "shop", "path": str(folder / "htpasswd")}}}) as one:
        yield one


@pytest.fixture
def other(tmp_path: Path, dockerd: Dockerd) -> Iterator[Yard]:
    """Another machine's work tree."""
    root = tmp_path / "elsewhere"
    root.mkdir()
    made = Yard(root, dockerd)
    yield made
    made.clear()


def fill(yard: Yard, registry: Registry) -> None:
    yard.registry = f"{registry.address}/shop"
    yard.write("orders/app.py", "print('orders')")


def forget(yard: Yard, made: Artifact) -> None:
    assert made.image is not None
    yard.daemon.docker("image", "rm", "--force", made.image.id)


def dockerfile(yard: Yard) -> str:
    return f"FROM {yard.daemon.base('runtime')}\nCOPY app.py /\nRUN date +%N > /made\n"


def test_an_image_is_pushed_once_and_taken_by_another_machine(yard: Yard, other: Yard, registry: Registry) -> None:
    fill(yard, registry)
    fill(other, registry)
    made = yard.one(yard.image("orders", dockerfile(yard)))
    assert registry.tags("shop/orders") == [made.key]
    forget(yard, made)
    taken = other.one(other.image("orders", dockerfile(yard)))
    assert (taken.key, taken.image, taken.digest) == (made.key, made.image, made.digest)
    assert ("cached", f"from {registry.address}/shop") in [(each.phase, each.label) for each in other.progress]
    assert other.run(taken, "python3", "/app.py") == "orders"
    assert not other.half_made()
    names = yard.daemon.docker("image", "ls", "--format", "{{.Repository}}", "--filter", "label=dev.atoll.image=orders")
    assert f"{registry.address}/shop/orders" not in names.split()


def test_a_depot_takes_the_image_that_its_dockerd_has_or_pulls(yard: Yard, registry: Registry, tmp_path: Path) -> None:
    fill(yard, registry)
    made = yard.one(yard.image("orders", dockerfile(yard)))
    assert made.image is not None
    theirs = tmp_path / "machine"
    depot = Depot(theirs, lambda *_: Collected(), yard.site.docker)
    offer = ArtifactOffer(service="orders", artifact=made)
    forget(yard, made)
    with pytest.raises(Refused) as raised:
        asyncio.run(depot.take(offer))
    assert raised.value.id == "image-unavailable"
    name = Artifacts(yard.artifacts).pushed_path(made.key).read_text()
    taken = asyncio.run(depot.take(msgspec.structs.replace(offer, image_name=name))).artifact
    assert taken == msgspec.structs.replace(made, path=str(theirs / made.key))
    assert yard.run(taken, "python3", "/app.py") == "orders"
    assert asyncio.run(depot.held([made.key])) == [taken]
    forget(yard, made)
    assert asyncio.run(depot.held([made.key])) == []  # somebody pruned it: it is asked for again
    old = time.time() - 86_400
    os.utime(theirs / ".records" / made.key, (old, old))
    assert asyncio.run(depot.take(msgspec.structs.replace(offer, image_name=name))).artifact == taken
    assert collect(theirs, frozenset(), 0.0, 0, 0.0).removed == (made.key,)
    assert made.image.id not in yard.daemon.docker("image", "ls", "--quiet", "--no-trunc").split()


def test_a_pull_request_pushes_beside_what_is_trusted(
    yard: Yard, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(yard, registry)
    yard.namespace = "pr-7"
    made = yard.one(yard.image("orders", dockerfile(yard)))
    (tag,) = registry.tags("shop/orders")
    assert tag != made.key
    assert tag.endswith(f"-{made.key}")
    forget(yard, made)
    yard.namespace = "trusted"
    again = yard.one(yard.image("orders", dockerfile(yard)))
    assert again.image != made.image
    assert sorted(registry.tags("shop/orders")) == sorted([tag, made.key])


def test_what_could_not_be_pushed_is_told_and_pushed_the_next_time(yard: Yard, registry: Registry) -> None:
    fill(yard, registry)
    address, yard.registry = yard.registry, "127.0.0.1:1/shop"
    spec = yard.image("orders", dockerfile(yard))
    made = yard.one(spec)
    (told,) = yard.told
    assert told.startswith("orders.image was not pushed, so that other machines will build it: ")
    assert "127.0.0.1:1" in told
    yard.registry = address
    assert yard.one(spec) == made
    assert registry.tags("shop/orders") == [made.key]
    yard.progress.clear()
    assert yard.one(spec) == made
    assert {each.phase for each in yard.progress} == {"hashing", "cached"}


def test_an_image_under_another_ones_key_is_not_taken(yard: Yard, other: Yard, registry: Registry) -> None:
    fill(yard, registry)
    fill(other, registry)
    made = yard.one(yard.image("orders", dockerfile(yard)))
    forget(yard, made)
    name = f"{registry.address}/shop/orders:{made.key}"
    yard.daemon.docker("tag", yard.daemon.base("runtime"), name)
    yard.daemon.docker("push", name)
    yard.daemon.docker("image", "rm", name)
    taken = other.one(other.image("orders", dockerfile(yard)))
    assert other.run(taken, "python3", "/app.py") == "orders"


def test_a_prebuilt_image_is_pulled_by_its_digest_and_by_nothing_else(yard: Yard, registry: Registry) -> None:
    name = f"{registry.address}/mailer"
    yard.daemon.docker("tag", yard.daemon.base("runtime"), f"{name}:1.4")
    pushed = yard.daemon.docker("push", f"{name}:1.4")
    digest = pushed.rpartition("digest: ")[2].split()[0]
    yard.daemon.docker("image", "rm", f"{name}:1.4")
    made = yard.one(yard.image("mailer", ref=f"{name}@{digest}"))
    assert made.builder == "prebuilt"
    assert yard.run(made, "echo", "it works") == "it works"
    yard.daemon.docker("image", "rm", "--no-prune", f"{name}@{digest}")
    gone = yard.failure(yard.image("mailer", ref=f"{name}@sha256:{'0' * 64}"))
    assert gone.id == "image-unavailable"


def helper(folder: Path, address: str) -> str:
    """A credential helper, as `docker-credential-pass` is one; returns the settings that name it."""
    program = folder / "docker-credential-test"
    said = json.dumps({"ServerURL": address, "Username": "ada", "Secret": "secret"})
    program.write_text(f"#!/bin/sh\ncat > /dev/null\necho '{said}'\n")
    program.chmod(0o755)
    return json.dumps({"credHelpers": {address: "test"}})


@pytest.mark.parametrize("kept_in", ["config.json", "a helper"])
def test_credentials_are_dockers_own_and_nowhere_to_be_read(
    yard: Yard, locked_registry: Registry, kept_in: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "docker"
    config.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(config))
    fill(yard, locked_registry)
    spec = yard.image("orders", dockerfile(yard))
    yard.one(spec)
    assert any("no basic auth credentials" in each for each in yard.told), yard.told
    auth = base64.b64encode(b"ada:secret").decode()
    settings = json.dumps({"auths": {locked_registry.address: {"auth": auth}}})
    if kept_in == "a helper":
        settings = helper(tmp_path, locked_registry.address)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (config / "config.json").write_text(settings)
    made = yard.one(spec)
    assert locked_registry.tags("shop/orders", "ada:secret") == [made.key]
    for file in (path for path in yard.root.rglob("*") if path.is_file()):
        text = file.read_bytes()
        assert b"secret" not in text, file
        assert auth.encode() not in text, file
