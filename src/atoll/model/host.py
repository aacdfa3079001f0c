"""Where the daemon of an environment is reached: the URLs that `host` of an environment, --host and ATOLL_HOST take.

The file's rows, the command line and `app.remote` read them here. Pure, and light: every command of a remote environment
comes through.
"""

import re
from typing import Literal, NamedTuple

SHAPE = r"^(ssh://([^@/]+@)?[^@/]+(/.+)?|unix:///.+)$"  # for the JSON Schema; `parse` has the rest
_MACHINE = (
    r"[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\]"  # a dash in front would be an option of ssh
)
_USER = r"[A-Za-z0-9_][A-Za-z0-9_.\\+-]*"
_SSH = re.compile(rf"ssh://(?:(?P<user>[^@/]*)@)?(?P<machine>{_MACHINE})(?::(?P<port>\d{{1,5}}))?(?P<path>/.*)?")
_PATH = re.compile(r"/[^\0-\x1f\x7f:%$\\\"']+")  # ssh reads the others in a forward, its own way
_PATH_BYTES = 107  # sun_path of Linux, without its NUL


class Host(NamedTuple):
    """One way to one daemon. `path` "" is the socket that an environment has by convention on its machine."""

    scheme: Literal["ssh", "unix"]
    path: str = ""
    machine: str = ""  # a name or an address, as ssh takes it: also one of its configuration's
    user: str = ""  # "" is whom ssh takes
    port: int = 0  # 0 is what ssh takes

    @property
    def place(self) -> str:
        """The machine for people: `deploy@vm1`."""
        if self.scheme == "unix":
            return "this machine"
        user = f"{self.user}@" if self.user else ""
        machine = f"[{self.machine}]" if ":" in self.machine else self.machine
        return f"{user}{machine}" + (f":{self.port}" if self.port else "")

    def __str__(self) -> str:
        """The URL."""
        return f"unix://{self.path}" if self.scheme == "unix" else f"ssh://{self.place}{self.path}"


def parse(text: str) -> Host:
    """The host that a URL names. Raises ValueError with what it must be."""
    if text.startswith("unix://"):
        path = text.removeprefix("unix://")
        if not path.startswith("/"):
            raise ValueError("must have the absolute path of a socket: unix:///run/atoll/shop.production.sock")
        return Host("unix", _path(path))
    if not text.startswith("ssh://"):
        raise ValueError("must be ssh://[USER@]MACHINE[:PORT][/PATH] or unix:///PATH")
    found = _SSH.fullmatch(text)
    if found is None:
        raise ValueError("must be ssh://[USER@]MACHINE[:PORT][/PATH], with a machine as ssh knows it")
    user, port = found["user"] or "", int(found["port"] or 0)
    if ":" in user:
        raise ValueError("must not hold a password: ssh logs in by a key, an agent, or asks")
    if found["user"] is not None and not re.fullmatch(_USER, user):
        raise ValueError("must have the name of a user before the @")
    if found["port"] and not 1 <= port <= 65_535:
        raise ValueError("must have a port between 1 and 65535")
    path = found["path"] or ""
    return Host("ssh", _path(path) if path not in {"", "/"} else "", found["machine"].strip("[]"), user, port)


def _path(path: str) -> str:
    if not _PATH.fullmatch(path):
        raise ValueError("must have a plain absolute path: no quotes, colons, dollars, percents or backslashes")
    if len(path.encode()) > _PATH_BYTES:
        raise ValueError(
            f"must have a path of at most {_PATH_BYTES} bytes: the kernel takes no longer one for a socket"
        )
    return path
