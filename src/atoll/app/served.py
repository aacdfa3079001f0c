"""Which environments this machine serves, and the way to each, for whoever is on it without a checkout.

`atoll doctor` asks for them. Root finds them by their folders, also under a service manager that Atoll does not know; others may not look
there, and find the units that `atoll install` wrote. Whether one may ask, the daemon says.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from atoll.app.config import read
from atoll.app.hooks import EnvironmentPlaces
from atoll.model.errors import UserError
from atoll.workspace.places import Places, served_name, states

_UNITS = Path("/etc/systemd/system")
_RUN = "/run/atoll"  # of root, which the units run as
_DESCRIBED = re.compile(r"^Description=Atoll: (\S+) of (.+)$", re.MULTILINE)
_RUN_ELSEWHERE = re.compile(r'^Environment="?ATOLL_RUN=([^"\n]+)"?$', re.MULTILINE)


class PublicPlaces(EnvironmentPlaces):
    """Of another user's environment one knows the socket at which all may knock."""

    def keeper_alive(self) -> bool:
        """Whether somebody ever listened there; the keeper itself is not to be asked."""
        return self.socket.exists()

    def will_answer(self, met: bool = False) -> bool:  # noqa: ARG002  nothing more is known
        """The unit starts again what ended."""
        return self.keeper_alive()

    answers_now = will_answer


def served_here() -> Mapping[tuple[str, str], EnvironmentPlaces]:
    """By the names of workspace and environment, and in their order."""
    found = dict(_by_units())
    found |= dict(_by_folders())  # what one may see all of
    return dict(sorted(found.items()))


def _by_folders() -> list[tuple[tuple[str, str], EnvironmentPlaces]]:
    found = []
    for state in states():
        try:
            config = read(state)
        except (OSError, UserError):
            continue
        if config is not None and config.served:
            here = config.workspace, state.name
            found.append((here, EnvironmentPlaces(Places.served(*here))))
    return found


def _by_units() -> list[tuple[tuple[str, str], EnvironmentPlaces]]:
    found: list[tuple[tuple[str, str], EnvironmentPlaces]] = []
    for file in _UNITS.glob("atoll-*.service"):
        try:
            text = file.read_text()
        except OSError:
            continue
        if (described := _DESCRIBED.search(text)) is None:
            continue
        here = described[2], described[1]
        elsewhere = _RUN_ELSEWHERE.search(text)
        run = Path(elsewhere[1] if elsewhere else _RUN)
        socket = run / f"{served_name(here[0])}.{here[1]}.sock"
        found.append((here, PublicPlaces(Places.served(*here), socket)))
    return found
