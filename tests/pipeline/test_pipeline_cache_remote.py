"""The cache that machines share: a directory, and S3 over HTTP. Whatever it does, a build goes on, and is told once."""

import errno
import os
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from killing import eventually

from atoll.model.cache import Remote, remote
from atoll.pipeline.artifacts import remove_tree, seal
from atoll.pipeline.cache import far as far_module
from atoll.pipeline.cache.cache import Cache, Restored, parcel_name
from atoll.pipeline.cache.far import Patient, far
from atoll.pipeline.inputs import Stopped
from atoll.pipeline.namespace import TRUSTED

KEY, OTHER = "a" * 40, "b" * 40
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
Answer = Callable[[dict[str, Any], Any], Any]


class Fleet:
    """Machines with a cache each, that share a remote one."""

    def __init__(self, root: Path, remote: Remote) -> None:
        self.root, self.remote = root, remote
        self.told: list[str] = []
        self._count = 0

    def cache(self, machine: str, namespace: str = TRUSTED) -> Cache:
        return Cache(
            self.root / machine, namespace, self.told.append, Patient(far(self.remote, self.root), self.told.append)
        )

    def sealed(self, **files: bytes) -> tuple[Path, str]:
        self._count += 1
        tree = self.root / f"tree-{self._count}"
        tree.mkdir()
        for name, data in files.items():
            (tree / name).write_bytes(data)
        return tree, seal(tree, lambda _: True, threading.Event())[0]

    def put(self, machine: str, key: str, namespace: str = TRUSTED, **files: bytes) -> tuple[Path, str]:
        tree, digest = self.sealed(**files)
        cache = self.cache(machine, namespace)
        cache.put(key, tree, b"record", digest=digest, anywhere=True, seconds=3.0)
        cache.close()
        return tree, digest

    def get(self, machine: str, key: str, namespace: str = TRUSTED) -> tuple[Restored | None, Path]:
        self._count += 1
        to = self.root / f"back-{self._count}"
        cache = self.cache(machine, namespace)
        restored = cache.get(key, to, anywhere=True, stop=threading.Event())
        cache.close()
        return restored, to


@pytest.fixture
def cleaned(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for path in tmp_path.iterdir():
        if path.is_dir():
            remove_tree(path)


@pytest.fixture
def shared(cleaned: Path) -> Fleet:
    """A directory as the remote."""
    (cleaned / "remote").mkdir()
    return Fleet(cleaned, remote(f"file://{cleaned}/remote"))


class Bucket:
    """moto's S3 behind a real HTTP server; `answer` may answer in its place."""

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self.name = f"builds-{secrets.token_hex(4)}"  # moto has one account for all servers
        self.answer: Answer | None = None
        self.requests: list[tuple[str, str]] = []
        inner = DomainDispatcherApplication(create_backend_app)

        def app(environ: dict[str, Any], start: Any) -> Any:
            self.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
            return (self.answer or inner)(environ, start)

        self.server = make_server("127.0.0.1", 0, app, threaded=True)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        self.endpoint = f"http://127.0.0.1:{self.server.port}"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join(20)
        self.server.server_close()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    import boto3

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    bucket = Bucket()
    boto3.client("s3", endpoint_url=bucket.endpoint, region_name="us-east-1").create_bucket(Bucket=bucket.name)
    bucket.requests.clear()
    yield bucket
    bucket.close()


@pytest.fixture
def s3(cleaned: Path, bucket: Bucket) -> Fleet:
    return Fleet(cleaned, remote(f"s3://{bucket.name}/atoll/shop?endpoint={bucket.endpoint}&region=us-east-1"))


def denied(environ: dict[str, Any], start: Any) -> list[bytes]:
    start("403 Forbidden", [("Content-Type", "application/xml")])
    return [b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"]


# --- both -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["shared", "s3"])
def fleet(request: pytest.FixtureRequest) -> Fleet:
    fleet: Fleet = request.getfixturevalue(request.param)
    return fleet


def test_what_one_machine_made_another_one_finds_and_keeps(fleet: Fleet) -> None:
    data = os.urandom(9_000_000)  # more than one part of an upload
    _, digest = fleet.put("one", KEY, big=data, small=b"1")
    restored, to = fleet.get("two", KEY)
    assert restored is not None
    assert (restored.digest, restored.record, restored.seconds) == (digest, b"record", 3.0)
    assert restored.source == fleet.remote.text
    assert (to / "big").read_bytes() == data
    restored, _ = fleet.get("two", KEY)
    assert restored is not None
    assert restored.source == "the cache"
    assert fleet.told == []


def test_a_miss_is_no_trouble(fleet: Fleet) -> None:
    assert fleet.get("one", KEY)[0] is None
    assert fleet.told == []


def test_namespaces_are_folders_that_policies_can_guard(fleet: Fleet) -> None:
    fleet.put("ci", KEY, namespace="pr-7", by=b"pr-7")
    assert fleet.get("other", KEY)[0] is None, "a trusted run does not even ask for it"
    assert fleet.get("other", KEY, namespace="pr-8")[0] is None
    restored, to = fleet.get("other", KEY, namespace="pr-7")
    assert restored is not None
    fleet.put("ci", KEY, by=b"trusted")
    restored, to = fleet.get("third", KEY, namespace="pr-7")
    assert (to / "by").read_bytes() == b"trusted", "what is trusted comes first"
    assert fleet.get("third", KEY)[0] is not None
    assert parcel_name("pr-7", KEY, "") == f"pr-7/{KEY}"


def test_what_a_pull_request_fetched_is_its_own_only(fleet: Fleet) -> None:
    """Its atoll.toml may name a remote of its own, and what lies there under "trusted" is anybody's."""
    fleet.put("evil", KEY, by=b"somebody who says to be trusted")
    assert fleet.get("runner", KEY, namespace="pr-7")[0] is not None
    runner = Cache(fleet.root / "runner", TRUSTED, fleet.told.append)
    assert runner.get(KEY, fleet.root / "to", anywhere=True, stop=threading.Event()) is None
    runner.close()


def test_a_result_that_names_its_folder_is_found_by_who_builds_in_the_same_place(fleet: Fleet) -> None:
    tree = fleet.root / "artifacts-key"
    tree.mkdir()
    (tree / "f").write_bytes(os.fsencode(tree))
    digest, _ = seal(tree, lambda _: True, threading.Event())
    cache = fleet.cache("one")
    cache.put(KEY, tree, b"", digest=digest, anywhere=True, seconds=1.0)
    cache.close()
    assert fleet.get("two", KEY)[0] is None
    remove_tree(tree)
    cache = fleet.cache("two")
    assert cache.get(KEY, tree, anywhere=True, stop=threading.Event()) is not None
    cache.close()


# --- the directory --------------------------------------------------------------------------------------------------


def parcel(fleet: Fleet) -> Path:
    return fleet.root / "remote" / TRUSTED / KEY


@pytest.mark.parametrize("where", ["magic", "head", "content", "end"])
def test_a_parcel_that_changed_on_its_way_is_told_and_not_used(shared: Fleet, where: str) -> None:
    shared.put("one", KEY, a=os.urandom(5000), b=b"2")
    data = bytearray(parcel(shared).read_bytes())
    at = {"magic": 2, "head": 60, "content": len(data) - 2000, "end": len(data) - 1}[where]
    data[at] ^= 0x11
    parcel(shared).write_bytes(data)
    restored, to = shared.get("two", KEY)
    assert restored is None
    assert not to.exists()
    assert len(shared.told) == 1
    assert f"the result aaaaaaaaaaaa in {shared.root}/remote is damaged" in shared.told[0]
    assert list((shared.root / "two/v1/contents").rglob("*.zst")) == []


@pytest.mark.parametrize("cut", [0, 5, 49, 300, -1])
def test_half_a_parcel_is_told_and_not_used(shared: Fleet, cut: int) -> None:
    shared.put("one", KEY, a=os.urandom(5000), b=b"2")
    parcel(shared).write_bytes(parcel(shared).read_bytes()[:cut])
    assert shared.get("two", KEY)[0] is None
    assert "is damaged" in shared.told[0]


def test_something_behind_a_parcel_and_another_ones_parcel_are_not_used(shared: Fleet) -> None:
    shared.put("one", KEY, a=b"1")
    parcel(shared).with_name(OTHER).write_bytes(parcel(shared).read_bytes())
    parcel(shared).write_bytes(parcel(shared).read_bytes() + b"x")
    assert shared.get("two", KEY)[0] is None
    assert shared.get("two", OTHER)[0] is None
    assert "behind its end" in shared.told[0]
    assert "the result of something else" in shared.told[1]


def test_a_damaged_entry_here_is_mended_from_the_remote(shared: Fleet) -> None:
    shared.put("one", KEY, a=os.urandom(5000))
    content = next((shared.root / "one/v1/contents").rglob("*.zst"))
    content.write_bytes(content.read_bytes()[:-9])
    restored, _ = shared.get("one", KEY)
    assert restored is not None
    assert restored.source == f"{shared.root}/remote"
    assert len(shared.told) == 1
    assert "it is dropped" in shared.told[0]


def test_a_directory_that_is_gone_is_told_once_and_never_made(shared: Fleet) -> None:
    (shared.root / "remote").rmdir()
    cache = shared.cache("one")
    tree, digest = shared.sealed(a=b"1")
    for key in (KEY, OTHER):
        assert cache.get(key, shared.root / "to", anywhere=True, stop=threading.Event()) is None
        cache.put(key, tree, b"", digest=digest, anywhere=True, seconds=1.0)
    cache.close()
    assert shared.told == [
        f"the remote cache {shared.root}/remote is not used in this run: there is no such directory; make it, or mount it"
    ]
    assert not (shared.root / "remote").exists()
    assert shared.get("one", KEY)[0] is not None, "the machine's own goes on"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
@pytest.mark.parametrize(
    ("options", "said"), [("size=64k", "No space left on device"), ("ro", "Read-only file system")]
)
def test_a_directory_that_is_full_or_read_only_is_told_once(shared: Fleet, options: str, said: str) -> None:
    where = shared.root / "remote"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", where], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        for key in (KEY, OTHER):
            shared.put("one", key, a=os.urandom(200_000))
        assert [line for line in shared.told if said in line] == shared.told
        assert len(shared.told) == 2, "once a run"
        assert shared.get("one", KEY)[0] is not None
        left = [path for path in where.rglob("*") if path.is_file()]
        assert left == [], "nothing half-written"
    finally:
        subprocess.run(["umount", where], check=True)


def release(pipe: Path) -> None:
    """Let the thread end that reads it, once it does."""

    def open_to_it() -> bool:
        try:
            os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as exc:
            if exc.errno != errno.ENXIO:
                raise
            return False  # it does not read yet
        return True

    eventually(open_to_it)


def test_a_directory_that_hangs_is_given_up_and_told_once(shared: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe in the place of a file hangs like a file server that went away: nothing can interrupt it."""
    monkeypatch.setattr(far_module, "STALL_S", 0.5)
    (shared.root / "remote" / TRUSTED).mkdir()
    os.mkfifo(parcel(shared))
    cache = shared.cache("one")
    began = time.monotonic()
    for key in (KEY, OTHER):
        assert cache.get(key, shared.root / "to", anywhere=True, stop=threading.Event()) is None
    cache.close()
    assert time.monotonic() - began < 20
    assert shared.told == [f"the remote cache {shared.root}/remote is not used in this run: nothing came for 0.5 s"]
    release(parcel(shared))


def test_who_gives_up_does_not_wait_for_a_remote_that_hangs(shared: Fleet) -> None:
    (shared.root / "remote" / TRUSTED).mkdir()
    os.mkfifo(parcel(shared))
    cache, stop = shared.cache("one"), threading.Event()
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(Stopped):
        cache.get(KEY, shared.root / "to", anywhere=True, stop=stop)
    cache.close()
    release(parcel(shared))


def test_an_upload_that_hangs_holds_nobody_up_for_ever(shared: Fleet) -> None:
    (shared.root / "remote" / TRUSTED).mkdir()
    tree, digest = shared.sealed(a=b"1")
    cache = shared.cache("one")
    slow = threading.Event()
    cache.remote._far.send = lambda *_: slow.wait(60)
    cache.put(KEY, tree, b"", digest=digest, anywhere=True, seconds=1.0)
    cache.close(finish_s=1.0)
    slow.set()
    cache._sends.join()
    assert shared.told == ["the cache was not done within 1 s: 1 results were not kept or not sent"]


# --- S3 -------------------------------------------------------------------------------------------------------------


def test_the_objects_lie_under_the_prefix_and_the_namespace(s3: Fleet, bucket: Bucket) -> None:
    s3.put("one", KEY, a=b"1")
    assert ("PUT", f"/{bucket.name}/atoll/shop/trusted/{KEY}") in bucket.requests
    bucket.requests.clear()
    s3.get("two", KEY, namespace="pr-3")
    assert bucket.requests == [("GET", f"/{bucket.name}/atoll/shop/trusted/{KEY}")], "one request for a hit"


def test_a_bucket_that_may_be_read_only_goes_on_being_read(s3: Fleet, bucket: Bucket) -> None:
    s3.put("one", KEY, a=b"1")
    cache = s3.cache("two")
    bucket.answer = denied
    tree, digest = s3.sealed(a=b"2")
    for _ in range(2):
        cache.put(OTHER, tree, b"", digest=digest, anywhere=True, seconds=1.0)
    cache._puts.join()
    cache._sends.join()
    bucket.answer = None
    assert cache.get(KEY, s3.root / "to", anywhere=True, stop=threading.Event()) is not None
    cache.close()
    assert s3.told == [
        f"the remote cache {s3.remote.text} is not written in this run: it answers 403 Forbidden (AccessDenied)"
    ]


def test_credentials_are_in_nothing_that_is_told(s3: Fleet, bucket: Bucket) -> None:
    def echo(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("400 Bad Request", [("Content-Type", "application/xml")])
        return [f"<Error><Code>Odd</Code>{environ.get('HTTP_AUTHORIZATION')} {SECRET}</Error>".encode()]

    for answer in (denied, echo):
        bucket.answer = answer
        s3.get("one", KEY)
        s3.put("one", KEY, a=b"1")
    assert s3.told
    for line in s3.told:
        assert SECRET not in line
        assert "AKIA" not in line


@pytest.mark.parametrize("status", ["500 Internal Server Error", "503 Slow Down"])
def test_a_server_that_fails_is_told_once(s3: Fleet, bucket: Bucket, status: str) -> None:
    def failing(environ: dict[str, Any], start: Any) -> list[bytes]:
        start(status, [])
        return [b""]

    bucket.answer = failing
    cache = s3.cache("one")
    tree, digest = s3.sealed(a=b"1")
    for key in (KEY, OTHER):
        assert cache.get(key, s3.root / "to", anywhere=True, stop=threading.Event()) is None
        cache.put(key, tree, b"", digest=digest, anywhere=True, seconds=1.0)
    cache.close()
    assert len(s3.told) == 1
    assert f"it answers {status[:3]}" in s3.told[0]


def test_a_server_that_is_gone_and_a_bucket_that_is_not_there_are_told(s3: Fleet, cleaned: Path) -> None:
    endpoint = s3.remote.endpoint
    lost = Fleet(cleaned, remote(f"s3://nobody-has-it?endpoint={endpoint}&region=us-east-1"))
    lost.put("one", KEY, a=b"1")
    assert lost.told == [f"the remote cache {lost.remote.text} is not used in this run: there is no such bucket"]
    gone = Fleet(cleaned, remote("s3://builds?endpoint=http://127.0.0.1:9&region=us-east-1"))
    assert gone.get("one", OTHER)[0] is None
    assert len(gone.told) == 1
    assert gone.told[0].endswith(": error sending request")


def test_a_server_that_never_answers_is_given_up(s3: Fleet, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(far_module, "STALL_S", 0.5)
    released = threading.Event()

    def silent(environ: dict[str, Any], start: Any) -> list[bytes]:
        released.wait(60)
        start("404 Not Found", [])
        return [b""]

    bucket.answer = silent
    assert s3.get("one", KEY)[0] is None
    released.set()
    assert s3.told == [f"the remote cache {s3.remote.text} is not used in this run: nothing came for 0.5 s"]


# --- where it lies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("s3://bucket", Remote(kind="s3", path="bucket")),
        ("s3://bucket/a/b-c/", Remote(kind="s3", path="bucket/a/b-c")),
        ("s3://bucket?region=eu-central-1", Remote(kind="s3", path="bucket", region="eu-central-1")),
        ("file:///mnt/cache", Remote(kind="directory", path="/mnt/cache")),
        ("../cache", Remote(kind="directory", path="../cache")),
        ("~/cache", Remote(kind="directory", path="~/cache")),
    ],
)
def test_a_remote_is_a_bucket_or_a_directory(text: str, wanted: Remote) -> None:
    assert remote(text) == wanted
    assert remote(wanted.text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "s3://user:hunter2@bucket/x",
        "https://ada:hunter2@host/x",
        "s3://bucket?endpoint=http://ada:hunter2@host",
        "s3://bucket?secret=hunter2",
        "http://host/hunter2",
        "s3:bucket",
        "s3://B",
        "file://relative",
        "",
        " ",
    ],
)
def test_what_is_no_remote_is_refused_without_showing_what_may_be_a_password(text: str) -> None:
    with pytest.raises(ValueError, match=r"must|knows") as refused:
        remote(text)
    assert "hunter2" not in str(refused.value)
