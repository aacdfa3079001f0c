"""A service as `atoll dev` runs it in its own folder: no build, the developer's own tools. Called by `cli.dev`."""

import fnmatch
import os
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from atoll.model.environment import Dev
from atoll.model.spec import ServiceSpec
from atoll.model.state import Artifact
from atoll.model.wire import Draft
from atoll.pipeline.tools import this_platform

# What `npm run dev` finds its programs and caches by when somebody types it; nothing that is a secret.
PASSED = (
    *(
        "PATH",
        "HOME",
        "USER",
        "LANG",
        "LC_ALL",
        "TMPDIR",
        "VIRTUAL_ENV",
        "JAVA_HOME",
        "GOPATH",
        "CARGO_HOME",
        "RUSTUP_HOME",
    ),
    *("XDG_*_HOME", "NVM_DIR", "VOLTA_HOME", "FNM_*", "PYENV_*", "RBENV_*", "ASDF_*", "MISE_*", "SDKMAN_*", "GOENV_*"),
)


def in_place(spec: ServiceSpec, dev: Dev, root: Path, outer: Mapping[str, str]) -> Draft:
    """The draft of a service that runs where it is edited. `root` is the workspace, `outer` the developer's environment."""
    env = {name: value for name, value in outer.items() if any(fnmatch.fnmatchcase(name, each) for each in PASSED)}
    artifact = Artifact(
        key="in-place",
        digest="in-place",
        builder="command",
        platform=this_platform(),
        path=os.path.normpath(root / spec.folder),
        command_env=env,
        in_place=True,
    )
    return Draft(spec=replace(spec, run=dev.run, workdir="."), artifact=artifact)
