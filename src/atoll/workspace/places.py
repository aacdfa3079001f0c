"""Where Atoll keeps its things on this machine: one function each, the only module that knows.

`app` makes one `Places` per command and hands its paths out; nobody else builds such a path. Data survive a reboot,
sockets do not. Paths depend on the user, the workspace's folder, the environment's name, ATOLL_HOME and ATOLL_RUN, and
on nothing that differs between a terminal, cron and ssh: else two of them would not find the same daemon.

A *served* environment is one that a machine runs at boot, without a checkout: its places follow from the workspace's
name instead of its folder, and its API's socket lies where those find it who come through SSH.
"""

from __future__ import annotations

import os
import re
import stat
from hashlib import blake2s
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atoll.model.catalogue.ids import ErrorId
    from atoll.model.errors import UserError

MAX_SOCKET_BYTES = 107  # sockaddr_un.sun_path without its NUL
_LONGEST_SOCKET = len("/h_udp_parent_167772162")  # Envoy's, of `proxy.handover`
_BESIDE = len(".proxy/own")  # and where it has a user of its own, `proxy.sockets`
_LONGEST_LINK = len("/c.0123456789abcdef")  # ssh makes its socket under a name of its own before it has the last one
_LONGEST_SUFFIX = len(".new")
_TRAVERSABLE = 0o711  # services under users of their own must come through to artifacts and data, and list nothing
_PRIVATE = 0o700


class Places:
    """The places of one environment of the workspace at `root`. Cheap: nothing is made or read until it is asked for."""

    def __init__(self, root: Path, environment: str) -> None:
        self.root = Path(root).resolve()
        self.environment = environment
        self.id = workspace_id(self.root)
        self._public: Path | None = None

    @classmethod
    def served(cls, workspace: str, environment: str) -> Places:
        """Those of an environment that this machine serves; `workspace` is a name. The root is its own folder of data."""
        name = served_name(workspace)
        places = cls(data_home() / "served" / name, environment)
        places.id = f"served/{name}"
        places._public = run_home() / f"{name}.{environment}.sock"
        return places

    @property
    def is_served(self) -> bool:
        """Whether they were made by `served`."""
        return self._public is not None

    @property
    def unit(self) -> str:
        """What runs it where this machine serves it; else ""."""
        return unit_name(self.id.removeprefix("served/"), self.environment) if self.is_served else ""

    @property
    def workspace(self) -> Path:
        """What belongs to the workspace whatever the environment."""
        return data_home() / self.id

    @property
    def artifacts(self) -> Path:
        """The artifacts, shared by all environments; the pipeline makes it."""
        return self.workspace / "artifacts"

    @property
    def records(self) -> Path:
        """What became of tasks, shared by all environments; the pipeline makes it."""
        return self.workspace / "records.db"

    @property
    def snapshot(self) -> Path:
        """What the work tree looked like the last time, shared by all environments; the pipeline makes it."""
        return self.workspace / "snapshot"

    @property
    def cache(self) -> Path:
        """Results of tasks, compressed, by their digests, shared by all environments; the pipeline makes it."""
        return self.workspace / "cache"

    @property
    def toolchains(self) -> Path:
        """Compilers that were fetched for the workspace, shared by all environments; the pipeline makes it."""
        return self.workspace / "toolchains"

    @property
    def state(self) -> Path:
        """What the environment keeps: store, secrets, keeper's journals, logs. Survives a reboot."""
        return self.workspace / "environments" / self.environment

    @property
    def data(self) -> Path:
        """What services keep in folders of their own (`{data}`)."""
        return self.state / "data"

    @property
    def run(self) -> Path:
        """The sockets; 0700. Raises UserError when somebody else could have put them there."""
        top = run_home()
        folder = top / _digest(f"{self.root}\0{self.environment}", 4)
        _refuse_long(folder, _LONGEST_SOCKET + (_BESIDE if self.is_served else 0))
        for each in (top, folder) if "ATOLL_RUN" not in os.environ else (folder,):
            _refuse_foreign(each)
        return folder

    @property
    def daemon_socket(self) -> Path:
        """Where the daemon's API listens. A served one's lies outside the private folder: who may connect, it decides."""
        if self._public is None:
            return self.run / "daemon.sock"
        _refuse_long(self._public, _LONGEST_SUFFIX)
        return self._public

    @property
    def keeper_socket(self) -> Path:
        """Where the keeper listens."""
        return self.run / "keeper.sock"

    def create(self) -> None:
        """Make the folders, with their modes; they may be there. Raises UserError when they cannot be made or trusted."""
        home = data_home()
        _make(home, _TRAVERSABLE, parents=True, ours=False)
        served = (self.workspace.parent,) if self.is_served else ()
        for folder in (*served, self.workspace, self.state.parent, self.state, self.data):
            _make(folder, _TRAVERSABLE)
        run = self.run
        _make(run.parent, _TRAVERSABLE if self.is_served else _PRIVATE, parents=True, ours=self.is_served)
        _make(run, _PRIVATE)
        _refuse_foreign(run)


def workspace_above(folder: Path) -> Path | None:
    """The nearest workspace that an absolute path lies in, if any."""
    return next((each for each in (folder, *folder.parents) if (each / "atoll.toml").is_file()), None)


def artifacts_of(state: Path) -> Path:
    """The artifacts of an environment whose folder of state that is: what its daemon knows of itself."""
    return state.parent.parent / "artifacts"


def workspace_id(root: Path) -> str:
    """The workspace's name on this machine: its folder's, and a digest of the whole path. Needs no file to be read."""
    return f"{_slug(root.name)[:32] or 'workspace'}-{_digest(str(root), 4)}"


def served_name(workspace: str) -> str:
    """How a workspace is called in the names of folders, sockets and units: without what they cannot have."""
    return _slug(workspace) or "workspace"


def unit_name(workspace: str, environment: str) -> str:
    """What systemd calls the environment on a machine that serves it, without `.service`; `atoll install` writes it."""
    return f"atoll-{served_name(workspace)}-{environment}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def states() -> list[Path]:
    """The state folders of all environments of this user, served ones among them."""
    home = data_home()
    return [*home.glob("*/environments/*"), *home.glob("served/*/environments/*")]


def users_lock() -> Path:
    """Held by whoever chooses a user for a service of one of `states`."""
    return data_home() / "users.lock"


def link_folder(machine: str) -> Path:
    """Where the connection to another machine lies, for all workspaces; made, 0700. Raises UserError, see `Places.run`.

    Whoever may open what lies there is logged in over there.
    """
    top = run_home()
    folder = top / _digest(machine, 4)
    _refuse_long(folder, _LONGEST_LINK)
    _make(top, _PRIVATE, parents=True, ours=False)
    _make(folder, _PRIVATE)
    for each in (top, folder) if "ATOLL_RUN" not in os.environ else (folder,):
        _refuse_foreign(each)
    return folder


def data_home() -> Path:
    """$ATOLL_HOME, else /var/lib/atoll for root, else $XDG_DATA_HOME/atoll or ~/.local/share/atoll."""
    if chosen := _chosen("ATOLL_HOME"):
        return chosen
    if os.geteuid() == 0:
        return Path("/var/lib/atoll")
    xdg = os.environ.get("XDG_DATA_HOME", "")
    if Path(xdg).is_absolute():  # the XDG specification: relative ones are to be ignored
        return Path(xdg) / "atoll"
    try:
        return Path.home() / ".local/share/atoll"
    except RuntimeError as exc:
        raise _user_error("no home folder to keep data in", str(exc), "set ATOLL_HOME", id="folder-unusable") from exc


def run_home() -> Path:
    """$ATOLL_RUN, else /run/atoll for root, else /tmp/atoll-UID.

    Not $XDG_RUNTIME_DIR: logind removes it at the last logout, while services go on, and cron has none. Not $TMPDIR
    either: it differs between sessions. A folder in /tmp is checked for its owner before it is used.
    """
    if chosen := _chosen("ATOLL_RUN"):
        return chosen
    if os.geteuid() == 0 and os.access("/run", os.W_OK):
        return Path("/run/atoll")
    return Path(f"/tmp/atoll-{os.geteuid()}")  # noqa: S108 (owner and mode are checked)


def _chosen(variable: str) -> Path | None:
    value = os.environ.get(variable)
    if not value:
        return None
    if not Path(value).is_absolute():
        raise _user_error(
            f"{variable} must be an absolute path, not '{value}'",
            "",
            f"such as {variable}=$PWD/{value}",
            id="folder-unusable",
        )
    return Path(value)


def _digest(text: str, size: int) -> str:
    return blake2s(os.fsencode(text), digest_size=size).hexdigest()


def _make(folder: Path, mode: int, *, parents: bool = False, ours: bool = True) -> None:
    """Make a folder with exactly that mode. One that is there is widened to it only when it is `ours`, never narrowed."""
    try:
        if parents:
            folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.mkdir(mode=mode)
            folder.chmod(mode)  # whatever the umask
        except FileExistsError:
            there = folder.stat()
            if not stat.S_ISDIR(there.st_mode):
                raise
            if ours and there.st_mode & mode != mode and there.st_uid == os.geteuid():
                folder.chmod(stat.S_IMODE(there.st_mode) | mode)
    except OSError as exc:
        why = exc.strerror or str(exc)
        raise _user_error(
            f"{folder} cannot be made",
            why,
            "set ATOLL_HOME and ATOLL_RUN to folders that you may write",
            id="folder-unusable",
        ) from exc


def _refuse_long(path: Path, more: int) -> None:
    if len(os.fsencode(path)) + more > MAX_SOCKET_BYTES:
        raise _user_error(
            f"{path} is too long a path for sockets",
            f"the kernel takes {MAX_SOCKET_BYTES} bytes",
            "set ATOLL_RUN to a shorter folder",
            id="socket-path-too-long",
        )


def _refuse_foreign(folder: Path) -> None:
    """A folder of sockets must be a real folder, ours, and closed to others; that it is absent is fine."""
    try:
        there = folder.lstat()
    except FileNotFoundError:
        return
    except OSError as exc:
        raise _user_error(
            f"{folder} cannot be used for sockets",
            exc.strerror or str(exc),
            "set ATOLL_RUN to a folder of yours",
            id="folder-unusable",
        ) from exc
    if stat.S_ISLNK(there.st_mode):
        why = "it is a link, which somebody else may have made"
    elif not stat.S_ISDIR(there.st_mode):
        why = "it is not a folder"
    elif there.st_uid != os.geteuid():
        why = f"it belongs to user {there.st_uid}"
    elif there.st_mode & 0o022:
        why = "others may write to it"
    else:
        return
    raise _user_error(
        f"{folder} cannot be used for sockets",
        why,
        "remove it, or set ATOLL_RUN to a folder of yours",
        id="folder-unusable",
    )


def _user_error(what: str, why: str, fix: str, *, id: ErrorId) -> UserError:
    from atoll.model.errors import UserError  # every command comes through this module, and few of them fail here

    return UserError(what, why, fix, id=id)
