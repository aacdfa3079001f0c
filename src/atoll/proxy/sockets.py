"""Where Envoy and the daemon find each other, and which user Envoy is.

Without a user of its own Envoy has everything in the daemon's private folder. With one it may not come in there, where the sockets
of keeper, shims and API lie; both meet in a folder beside it:

    RUN_DIR/               root's, 0700
    RUN_DIR.proxy/         root's, 0710 for Envoy's group, which comes through and cannot put anything there
        xds.sock           root's, 0660 for that group; the daemon listens
        own/               Envoy's, 0700: its admin page, and what it needs to take over from its predecessor

So whatever root makes or gives away lies in folders in which nobody else can rename or link anything. In `own` root connects, and no more.
"""

import os
import pwd
import stat
import subprocess
from pathlib import Path
from typing import NamedTuple

from atoll.model.errors import UserError

_MAY_USE = '[ -x "$1" ] || { echo "$1"; exit; }; for each; do [ -r "$each" ] || { echo "$each"; exit; }; done'
ADMIN = "envoy.sock"
_BESIDE, _OWN = ".proxy", "own"


class User(NamedTuple):
    """A user of the machine who is Envoy and nobody else."""

    uid: int
    gid: int

    @classmethod
    def named(cls, name: str) -> "User | None":
        """The account of that name; None when this process is not root, who alone can start another's programs, or has no such."""
        if os.geteuid() != 0:
            return None
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            return None
        return cls(found.pw_uid, found.pw_gid) if found.pw_uid else None

    @classmethod
    def parsed(cls, text: str) -> "User":
        """`UID:GID`, as `str` writes it. Raises ValueError."""
        uid, _, gid = text.partition(":")
        return cls(int(uid), int(gid))

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid}"

    def kept_from(self, program: str, *files: Path) -> str:
        """The first of these that this user may not execute or read, as the kernel sees it; "" when it may use them all."""
        argv = ["/bin/sh", "-c", _MAY_USE, "sh", program, *map(str, files)]
        asked = subprocess.run(
            argv, user=self.uid, group=self.gid, extra_groups=(), cwd="/", capture_output=True, text=True, check=False
        )
        return asked.stdout.strip()


class Sockets:
    """The paths, for one folder of sockets and one user."""

    def __init__(self, run_dir: Path, user: User | None = None) -> None:
        self.run_dir, self.user = run_dir, user
        self.folder = run_dir if user is None else beside(run_dir)
        self._own = run_dir if user is None else self.folder / _OWN

    @property
    def xds(self) -> Path:
        """Where Envoy finds the daemon."""
        return self.folder / "xds.sock"

    @property
    def admin(self) -> Path:
        """Where the daemon finds Envoy."""
        return self._own / ADMIN

    @property
    def line(self) -> Path:
        """How the names begin of the sockets by which one Envoy takes over from another."""
        return self._own / "h"

    def make(self) -> None:
        """The folders with their owners and modes. Raises UserError when somebody else has put something there."""
        if self.user is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            return
        self.folder.mkdir(mode=0o700, exist_ok=True)
        there = self.folder.lstat()
        if not stat.S_ISDIR(there.st_mode) or there.st_uid != os.geteuid() or there.st_mode & 0o022:
            raise UserError(
                f"{self.folder} cannot be used for the proxy's sockets",
                "it is not a folder of this user's alone",
                "remove it, or set ATOLL_RUN to a folder of yours",
                id="folder-unusable",
            )
        os.chown(self.folder, -1, self.user.gid)
        self.folder.chmod(0o710)
        self._own.mkdir(mode=0o700, exist_ok=True)
        os.chown(self._own, *self.user, follow_symlinks=False)

    def share(self, path: Path) -> None:
        """A file or a socket of root's in a folder of root's: its user may use it, and not say who else may."""
        if self.user is None:
            path.chmod(0o600)
            return
        os.chown(path, -1, self.user.gid)
        path.chmod(0o660 if path.is_socket() else 0o640)


def beside(run_dir: Path) -> Path:
    """The folder where an Envoy with a user of its own meets the daemon."""
    return run_dir.with_name(run_dir.name + _BESIDE)
