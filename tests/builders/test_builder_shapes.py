"""Services of the shape of real ones: several modules, real dependencies by their lock, a generated or embedded part.

Each is built and released a second time, with changed sources, in a network namespace without any network: what the
package manager keeps by itself has to do. Then both releases answer side by side, as during a deploy.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest

from atoll.model.errors import BuildFailed
from atoll.model.state import Artifact

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SHAPES = Path(__file__).with_name("shapes")
WITHIN_S = 60.0

_BUILD = """
import asyncio, json, sys
from pathlib import Path
import msgspec
from atoll.model.errors import BuildFailed
from atoll.model.spec import Build, Command, ServiceSpec
from atoll.pipeline.build import build_all
from atoll.pipeline.work import Site
root, name, build = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
spec = ServiceSpec(name=name, folder=name, run=Command(argv=("x",)), build=msgspec.convert(build, Build))
data = root / ".atoll"
site = Site(root=root, artifacts=data / "artifacts", toolchains=data / "toolchains", records=data / "records.db")
result = asyncio.run(build_all([spec], site))[name]
if isinstance(result, BuildFailed):
    sys.exit(f"{result.what}\\n{result.output}")
sys.stdout.buffer.write(msgspec.json.encode(result))
"""


def build_without_network(yard, name: str, **build: object) -> Artifact:
    """Build in a namespace that has no network, not even loopback. Skips where such a namespace may not be made."""
    alone = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--net", "--map-root-user")
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine makes no network namespaces for us: the build without network was not tried")
    argv = (*alone, sys.executable, "-c", _BUILD, str(yard.root), name, json.dumps(build))
    env = {**os.environ, "UV_OFFLINE": "1"}  # else uv asks the index whether what it keeps is still so
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return msgspec.json.decode(done.stdout, type=Artifact)


@contextmanager
def running(artifact: Artifact, argv: Sequence[str]) -> Iterator[str]:
    """A replica of the artifact; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {"PATH": os.environ["PATH"], "PORT": str(port)}
    for name, text in artifact.command_env.items():
        env[name.removesuffix("+")] = f"{text}:{env['PATH']}" if name == "PATH+" else text
    with subprocess.Popen(
        argv, cwd=artifact.path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def answer(address: str) -> str:
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5) as reply:
                return str(reply.read().decode())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def side_by_side(releases: Sequence[Artifact], *argv: str) -> list[str]:
    with ExitStack() as stack:
        addresses = [stack.enter_context(running(each, argv)) for each in releases]
        first = [answer(each) for each in addresses]
        assert first == [answer(each) for each in addresses]
        return first


def change(yard, file: str) -> None:
    path = yard.root / "orders" / file
    path.write_text(path.read_text().replace("release 1", "release 2"))


def proved(
    yard, shape: str, source: str, *argv: str, prepare: Callable[[], None] = lambda: None, **build: object
) -> Artifact:
    """Build, find it built, change a source, build that without network, run both."""
    shutil.copytree(SHAPES / shape, yard.root / "orders")
    prepare()
    first = yard.build("orders", **build)
    ran = yard.logs()
    assert yard.build("orders", **build) == first
    assert yard.logs() == ran, "the same inputs: no step runs"
    change(yard, source)
    second = build_without_network(yard, "orders", **build)
    answers = side_by_side([first, second], *argv)
    assert [text[: len("release 1: 3 prices")] for text in answers] == ["release 1: 3 prices", "release 2: 3 prices"]
    return first


def test_a_go_service_with_commands_internal_packages_and_grpc(yard, needs) -> None:
    needs("go", "version")
    first = proved(yard, "go", "cmd/orders/main.go", "./orders")
    assert yard.kept(first) == ["internal/pricing/prices.txt", "orders"]


def test_a_cargo_workspace_of_a_library_and_a_service_with_crates(yard, needs) -> None:
    needs("cargo", "--version")
    needs("cc", "--version")
    first = proved(yard, "rust", "orders/src/main.rs", "./orders")
    assert yard.kept(first) == ["orders", "pricing/src/prices.json"]


def test_a_maven_project_of_two_modules_with_javalin(yard, needs) -> None:
    needs("javac", "-version")
    needs("mvn", "--version")
    first = proved(yard, "maven", "orders/src/main/java/shop/orders/Main.java", "java", "shop.orders.Main")
    kept = yard.kept(first)
    assert "orders.jar" in kept
    assert "lib/pricing-1.0.jar" in kept
    assert "lib/javalin-6.3.0.jar" in kept
    assert not [path for path in kept if "/" in path and not path.startswith("lib/")]


LOCKS = {
    "npm": (None, ()),
    "yarn": ("1.22.22", ("yarn", "install", "--silent", "--ignore-scripts")),
}


@pytest.mark.parametrize("name", LOCKS)
def test_a_typescript_service_in_a_workspace(yard, needs, manager, name: str) -> None:
    needs("node", "--version")
    needs("npm", "--version")
    version, write_lock = LOCKS[name]

    def prepare() -> None:
        if version is None:
            return
        manager(name, version)
        folder = yard.root / "orders"
        (folder / "package-lock.json").unlink()
        done = subprocess.run(write_lock, cwd=folder, capture_output=True, text=True, timeout=200, check=False)
        if done.returncode != 0:
            pytest.skip(f"the registry cannot be reached: {(done.stdout + done.stderr).strip()[-200:]}")
        for modules in [*folder.glob("node_modules"), *folder.glob("packages/*/node_modules")]:
            shutil.rmtree(modules)

    run = ("node", "packages/orders/dist/server.js")
    first = proved(yard, "node", "packages/orders/src/server.ts", *run, prepare=prepare)
    assert not Path(first.path, "node_modules/typescript").exists(), "development dependencies are dropped"


@pytest.mark.parametrize("lock", ["uv.lock", "requirements.txt", "poetry.lock"])
def test_a_python_service_in_src_with_an_entry_point(yard, lock: str) -> None:
    def prepare() -> None:
        folder = yard.root / "orders"
        requirements = (folder / "requirements.txt").read_text()
        for other in {"uv.lock", "requirements.txt"} - {lock}:
            (folder / other).unlink()
        if lock == "poetry.lock":
            (folder / lock).write_text(as_poetry_locks(requirements))

    first = proved(yard, "python", "src/orders/server.py", "orders", prepare=prepare)
    assert not list(Path(first.path, ".venv/lib").glob("python3*/site-packages/pytest"))


def as_poetry_locks(requirements: str) -> str:
    """The same versions and hashes as poetry.lock has them."""
    packages = []
    for found in re.finditer(r"^(\S+)==(\S+)(.*?)(?=^\S|\Z)", requirements, re.MULTILINE | re.DOTALL):
        files = ", ".join(f'{{file = "x", hash = "{each}"}}' for each in re.findall(r"sha256:[0-9a-f]+", found[3]))
        packages.append(f'[[package]]\nname = "{found[1]}"\nversion = "{found[2]}"\nfiles = [{files}]\n')
    return "\n".join([*packages, '[metadata]\nlock-version = "2.1"\n'])


def test_without_a_lock_in_reach_the_build_says_what_it_could_not_fetch(yard, needs) -> None:
    needs("go", "version")
    yard.write("orders", {"go.mod": "module x\n\ngo 1.21\n\nrequire example.invalid/never v1.0.0\n"})
    yard.write("orders", {"main.go": 'package main\n\nimport _ "example.invalid/never"\n\nfunc main() {}\n'})
    result = yard.result("orders")
    assert isinstance(result, BuildFailed)
    assert "example.invalid/never" in result.output
