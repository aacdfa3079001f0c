"""What a daemon must know of its environment, written by the command line that starts it and read by the daemon.

The file lies in the environment's state folder, so that a keeper can start the daemon again without anybody's help.
"""

import os
from pathlib import Path

import msgspec

from atoll.model.environment import EnvironmentSpec
from atoll.model.errors import UserError

_NAME = "daemon.json"


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """One environment of one workspace on this machine."""

    workspace: str
    root: str
    state: str
    run: str
    environment: EnvironmentSpec
    socket: str = ""  # where the API listens besides daemon.sock below `run`, for those whom access.json gives a role
    isolated: bool = False  # whether a service that cannot run as its own user is refused rather than run as root
    served: bool = False  # by the machine's service manager: it starts the keeper, nobody else


def read(state: Path) -> Config | None:
    """The configuration of an environment's daemon; None when it was never started. Raises UserError when unreadable."""
    try:
        return msgspec.json.decode((state / _NAME).read_bytes(), type=Config)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as exc:
        raise UserError(
            f"{state / _NAME} cannot be read",
            str(exc),
            "delete it, then `atoll up`; where the machine serves it, `systemctl restart` its unit",
            id="file-not-understood",
        ) from exc


def write(state: Path, config: Config) -> bool:
    """Write it, atomically, for its owner alone: it has URLs of webhooks. False when it said the same already."""
    if read(state) == config:
        return False
    fresh = state / f"{_NAME}.{os.getpid()}~"  # two may start the environment at once
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(config)))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(state / _NAME)
    return True
