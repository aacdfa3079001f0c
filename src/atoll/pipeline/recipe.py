"""What would build a service, without building it. `atoll eject` calls it, and `survey`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from atoll.model.spec import ServiceSpec
from atoll.pipeline.detect import Plan, choose, plan
from atoll.pipeline.inputs import select
from atoll.pipeline.order import OURS

if TYPE_CHECKING:
    from atoll.ports import Builder


def plan_of(spec: ServiceSpec, root: Path) -> Plan:
    """Builder, steps and tools. Raises UserError when the files do not tell."""
    folder, files = _files(spec, root)
    return plan(spec, files, folder)


def builder_of(spec: ServiceSpec, root: Path) -> Builder:
    """The builder alone, which can often be told where the steps cannot. Raises UserError when the files do not tell."""
    return choose(spec, _files(spec, root)[1])


def _files(spec: ServiceSpec, root: Path) -> tuple[Path, frozenset[str]]:
    folder = Path(os.path.normpath(root / spec.folder / spec.build.context))
    found = select(folder, spec.build.inputs, root=Path(os.path.normpath(root / spec.root)), skip=OURS)
    return folder, frozenset(entry.path for entry in found if entry.path.rpartition("/")[2] not in OURS)
