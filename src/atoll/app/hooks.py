"""What the command line asks for: places, files, builds, and the life of an environment's processes.

Implements `cli.hooks.Hooks`. Everything heavy is imported where it is used, since `atoll --help` comes through here.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from atoll.workspace.places import Places

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from atoll.model.errors import BuildFailed
    from atoll.model.spec import WorkspaceSpec
    from atoll.model.state import Artifact
    from atoll.model.wire import DoctorView

    Say = Callable[[str], None]

_API_WITHIN_S = 20.0
_DRAINED_WITHIN_S = 60.0
