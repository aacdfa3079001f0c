"""Who may do what at the real sockets, asked by processes of other users: the kernel alone says who they are."""

import grp
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from atoll.app import access as access_file
from atoll.daemon.endpoint import Endpoint
from atoll.daemon.endpoints import ENDPOINTS
from atoll.decide.access import refusal
from atoll.model import wire
from atoll.model.access import ROLES, Access, Role
from atoll.model.errors import UserError
from atoll.testing.fake_control import Served

UID = 61_234  # nobody's
GROUPS = [group for group in sorted(grp.getgrall(), key=lambda one: one.gr_gid) if 0 < group.gr_gid < 1000][:4]
# It becomes the other user by itself, since that one may not be able to start this interpreter.
BECOME = """
import os, socket, sys
uid, gid, *gids = map(int, sys.argv[2].split(","))
os.setgroups(gids)
os.setresgid(gid, gid, gid)
os.setresuid(uid, uid, uid)
"""
ASK = """
line = socket.socket(socket.AF_UNIX)
line.settimeout(30)
line.connect(sys.argv[1])
try:
    line.sendall(sys.stdin.buffer.read())
except BrokenPipeError:
    pass
while part := line.recv(65536):
    sys.stdout.buffer.write(part)
"""
HOLD = """
lines = []
for _ in range(64):
    line = socket.socket(socket.AF_UNIX)
    line.connect(sys.argv[1])
    line.sendall(b"GET /v1/health HTTP/1.1\\r\\nHost: atoll\\r\\n\\r\\n")
    line.recv(9999)
    lines.append(line)
print(flush=True)
sys.stdin.read()
"""
as_others = pytest.mark.skipif(os.geteuid() != 0 or len(GROUPS) < 4, reason="needs root, to become other users")


def somebody(script: str, path: Path, uid: int, gid: int, gids: list[int]) -> list[str]:
    """The command that runs `script` as another user, with `path` as its argument."""
    return [sys.executable, "-I", "-S", "-c", BECOME + script, str(path), ",".join(map(str, (uid, gid, *gids)))]


class Answer(msgspec.Struct):
    status: int
    body: bytes

    @property
    def error(self) -> wire.ErrorView:
        return msgspec.json.decode(self.body, type=wire.ErrorView)


class Door:
    """An environment with a public socket, in a folder that others come through."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.public = folder / "shop.production.sock"
        reader, deployer, admin, _ = (group.gr_name for group in GROUPS)
        self.access = Access(readers=(reader,), deployers=(deployer,), admins=(admin,))
        self.served = Served(folder / "private" / "s", public=self.public, access=lambda: self.access)

    def gids(self, role: Role | None) -> list[int]:
        return [GROUPS[3 if role is None else ROLES.index(role)].gr_gid]

    def ask(
        self, method: str, path: str, body: bytes = b"", *, role: Role | None = None, uid: int = UID, gid: int = UID
    ) -> Answer:
        """As a process of another user, with the role's group as a supplementary one."""
        head = f"{method} {path} HTTP/1.1\r\nHost: atoll\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        done = subprocess.run(
            somebody(ASK, self.public, uid, gid, self.gids(role)),
            input=head.encode() + body, capture_output=True, timeout=60, check=True,
        )  # fmt: skip
        head, _, rest = done.stdout.partition(b"\r\n\r\n")  # type: ignore[assignment]
        return Answer(int(head.split()[1]), rest)


@pytest.fixture
def door() -> Iterator[Door]:
    folder = Path(tempfile.mkdtemp(prefix="atoll-door-"))
    folder.chmod(0o755)
    (folder / "private").mkdir(mode=0o700)
    made = Door(folder)
    try:
        with made.served:
            yield made
    finally:
        shutil.rmtree(folder)


RESTART = "/v1/services/orders/restart"


@as_others
def test_a_reader_sees_and_moves_nothing(door: Door) -> None:
    assert door.ask("GET", "/v1/status", role="reader").status == 200
    refused = door.ask("POST", RESTART, b"{}", role="reader")
    assert refused.status == 403
    assert refused.error.id == "not-allowed"
    assert refused.error.exit_code == 4
    assert "deployer" in refused.error.why
    assert GROUPS[1].gr_name in refused.error.fix
    assert door.served.control.requests == []


@as_others
def test_a_deployer_deploys_and_is_the_actor_but_does_not_get_inside(door: Door) -> None:
    assert door.ask("POST", RESTART, b'{"author": {"actor": "root"}}', role="deployer").status == 202
    (request,) = door.served.control.requests
    assert isinstance(request, wire.RestartRequest)
    assert request.author.actor == f"uid {UID}"
    for method, path, body in (
        ("POST", "/v1/services/orders/exec", b'{"argv": ["env"]}'),
        ("PUT", "/v1/secrets/db", b'{"value": "x"}'),
        ("DELETE", "/v1/secrets/db", b""),
        ("DELETE", "/v1/stores/orders-db", b""),
        ("POST", "/v1/services/orders/fault", b'{"kind": "kill"}'),
    ):
        assert door.ask(method, path, body, role="deployer").status == 403
    assert door.served.control.vault == {}


@as_others
def test_an_admin_does_what_cannot_be_taken_back_and_is_written_down(door: Door) -> None:
    assert door.ask("PUT", "/v1/secrets/db", b'{"value": "x"}', role="admin").status == 200
    assert door.ask("DELETE", "/v1/secrets/db", role="admin").status == 204
    assert door.served.control.removed == {"db": f"uid {UID}"}


@as_others
def test_a_role_comes_from_the_first_group_as_well_as_from_the_others(door: Door) -> None:
    assert door.ask("GET", "/v1/status", gid=door.gids("reader")[0]).status == 200


@as_others
@pytest.mark.parametrize("path", ["/v1/status", "/v1/health", "/metrics", "/openapi.json", "/v1/nothing"])
def test_a_stranger_gets_one_answer_whatever_is_asked(door: Door, path: str) -> None:
    answer = door.ask("GET", path)
    assert answer.status == 403
    assert answer.error.id == "not-allowed"
    assert b"orders" not in answer.body
    assert b"shop" not in answer.body


@as_others
def test_not_a_byte_of_a_stranger_is_parsed(door: Door) -> None:
    """Neither garbage nor a large body gets another answer."""
    assert door.ask("\x00\x01\x02", "\xff").status == 403
    assert door.ask("POST", RESTART, b"x" * 60_000).status == 403
    assert door.ask("GET", "/v1/status", role="reader").status == 200


@as_others
def test_the_private_socket_is_closed_to_everybody_else_whatever_the_role(door: Door) -> None:
    private = door.folder / "private" / "s"
    (door.folder / "private").chmod(0o755)  # even where its folder is not
    done = subprocess.run(
        somebody(ASK, private, UID, UID, door.gids("admin")), input=b"", capture_output=True, timeout=60, check=False
    )
    assert b"PermissionError" in done.stderr


@as_others
def test_who_holds_a_role_changes_without_a_restart(door: Door) -> None:
    assert door.ask("GET", "/v1/status", role="reader").status == 200
    door.access = Access()
    look(door)
    assert door.ask("GET", "/v1/status", role="reader").status == 403
    door.access = Access(deployers=(GROUPS[0].gr_name,))
    look(door)
    assert door.ask("POST", RESTART, b"{}", role="reader").status == 202


@as_others
def test_a_file_that_cannot_be_used_gives_nobody_a_role_but_the_owner(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    def unusable() -> Access:
        raise UserError("access.json cannot be used", id="access-unusable")

    door.served.api.doorkeeper._read = unusable
    look(door)
    look(door)
    assert [record.message for record in caplog.records].count("access.json cannot be used") == 1
    assert door.ask("GET", "/v1/status", role="admin").status == 403
    with owner(door) as client:
        assert client.get("/v1/status").status_code == 200


@as_others
def test_no_user_of_many_takes_all_connections(door: Door) -> None:
    """The 65th of one user is told to wait; another user and the owner come in all the same."""
    with subprocess.Popen(
        somebody(HOLD, door.public, UID, UID, door.gids("reader")), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as crowd:
        assert crowd.stdin is not None
        assert crowd.stdout is not None
        crowd.stdout.readline()
        refused = door.ask("GET", "/v1/health", role="reader")
        assert (refused.status, refused.error.id) == (503, "too-many-requests")
        assert door.ask("GET", "/v1/health", role="reader", uid=UID + 1).status == 200
        with owner(door) as client:
            assert client.get("/v1/health").status_code == 200
        crowd.stdin.close()
    until(lambda: door.ask("GET", "/v1/health", role="reader").status == 200)


def test_the_owner_is_admin_on_both_sockets(door: Door) -> None:
    for path in (door.served.socket, door.public):
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://atoll", timeout=30) as client:
            assert client.put("/v1/secrets/db", json={"value": "x"}).status_code == 200
    assert stat.S_IMODE(door.public.stat().st_mode) == 0o666
    assert stat.S_IMODE(door.served.socket.stat().st_mode) == 0o600


def test_both_sockets_go_with_the_server(tmp_path: Path) -> None:
    with Served(tmp_path / "s", public=tmp_path / "public"):
        assert (tmp_path / "public").exists()
    assert list(tmp_path.iterdir()) == []


@as_others
def test_what_a_change_would_do_is_a_readers_to_ask(door: Door) -> None:
    assert door.ask("POST", f"{RESTART}?plan=true", b"{}", role="reader").status == 200
    assert door.ask("POST", f"{RESTART}?plan=false", b"{}", role="reader").status == 403
    assert door.served.control.requests == []


def test_every_endpoint_that_changes_something_takes_more_than_a_reader() -> None:
    assert {one.name for one in ENDPOINTS if one.method != "GET" and one.role == "reader"} == set()
    assert {one.name for one in ENDPOINTS if one.method == "GET" and one.role != "reader"} == {
        "environment"
    }  # webhooks


def test_the_document_says_which_role_an_endpoint_takes(door: Door) -> None:
    with owner(door) as client:
        paths = client.get("/openapi.json").json()["paths"]
    assert paths["/v1/services/{service}/exec"]["post"]["x-atoll-role"] == "admin"
    assert paths["/v1/status"]["get"]["x-atoll-role"] == "reader"


# --- the file


def test_the_file_is_written_and_read_as_it_is(tmp_path: Path) -> None:
    told = Access(readers=("staff",), admins=("wheel",))
    assert access_file.read(tmp_path) == Access()
    assert access_file.write(tmp_path, told)
    assert not access_file.write(tmp_path, told)
    assert access_file.read(tmp_path) == told
    assert stat.S_IMODE(access_file.path_of(tmp_path).stat().st_mode) == 0o644
    assert json.loads(access_file.path_of(tmp_path).read_text())["readers"] == ["staff"]


def _misspelt(path: Path) -> None:
    path.write_text('{"reader": ["staff"]}')


def _cut(path: Path) -> None:
    path.write_text('{"readers": ["st')


def _open_to_others(path: Path) -> None:
    path.chmod(0o664)


def _a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("spoil", [_misspelt, _cut, _open_to_others, _a_link, _a_pipe])
def test_a_file_in_doubt_is_refused_and_can_be_written_anew(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    access_file.write(tmp_path, Access(readers=("staff",)))
    spoil(access_file.path_of(tmp_path))
    with pytest.raises(UserError) as refused:
        access_file.read(tmp_path)
    assert refused.value.id == "access-unusable"
    assert access_file.write(tmp_path, Access(readers=("staff",)))
    assert access_file.read(tmp_path) == Access(readers=("staff",))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    access_file.write(tmp_path, Access(admins=("wheel",)))
    os.chown(access_file.path_of(tmp_path), UID, -1)
    with pytest.raises(UserError, match="could make anybody an admin"):
        access_file.read(tmp_path)


# --- how


def owner(door: Door) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(door.public)), base_url="http://atoll", timeout=30)


def look(door: Door) -> None:
    import asyncio

    asyncio.run_coroutine_threadsafe(door.served.api.doorkeeper.look(), door.served.loop).result(30)


def until(happened: Callable[[], bool]) -> None:
    import time

    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("endpoint", [each for each in ENDPOINTS if each.role != "reader"], ids=lambda each: each.name)
def test_a_refusal_names_each_deed_as_people_do(endpoint: Endpoint) -> None:
    what = refusal("carol", "reader", endpoint.role, endpoint.name, Access()).what
    assert re.fullmatch(r"carol may not (deploy|restart|scale|stop|[a-z]+ [a-z ]+) here", what)
    assert "_" not in what
