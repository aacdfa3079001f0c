"""What would build a service, without building it. `atoll eject` calls it."""

import os
from pathlib import Path

from atoll.model.spec import ServiceSpec
from atoll.pipeline.build import OURS
from atoll.pipeline.detect import Plan, plan
from atoll.pipeline.inputs import select


def plan_of(spec: ServiceSpec, root: Path) -> Plan:
    """Builder, steps and tools. Raises UserError when the files do not tell."""
    folder = Path(os.path.normpath(root / spec.folder / spec.build.context))
    found = select(folder, spec.build.inputs, root=Path(os.path.normpath(root / spec.root)), skip=OURS)
    files = frozenset(entry.path for entry in found if entry.path.rpartition("/")[2] not in OURS)
    return plan(spec, files, folder)
