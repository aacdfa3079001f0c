"""`on_machine.py WORKSPACE_FOLDER NAME ENVIRONMENT ARGV...`: the command line, in a served environment of this machine."""

import sys
from pathlib import Path

from atoll.app.hooks import AppHooks, EnvironmentPlaces
from atoll.cli.main import run
from atoll.keeper.client import is_keeper_up
from atoll.workspace.places import Places


class Served(EnvironmentPlaces):
    """Files from a folder, everything else where the machine serves it."""

    def __init__(self, root: Path, served: Places) -> None:
        super().__init__(served)
        self._run = served.run
        served.root = root

    def keeper_alive(self) -> bool:
        return is_keeper_up(self._run)

    def will_answer(self) -> bool:
        return self.keeper_alive()


class Here(AppHooks):
    """The command line's, of this machine."""

    def places(self, root: Path, environment: str) -> EnvironmentPlaces:
        return Served(root, Places.served(NAME, environment))


folder, _, environment = sys.argv[1:4]
NAME = sys.argv[2]
sys.argv = ["atoll", "--workspace", folder, "--env", environment, *sys.argv[4:]]
sys.exit(run(Here()))
