"""The demo itself, as `make demo` runs it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockerd import Dockerd

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.py"

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Atoll runs on Linux"),
    pytest.mark.skipif(
        not (shutil.which("node") and shutil.which("npm")), reason="node and npm are not on this machine"
    ),
]


def left_over(folder: str) -> list[str]:
    """What still runs of a demo in `folder`."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = command.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"{folder}/" in text:
            found.append(text)
    return found


def test_every_promise_is_kept_under_load() -> None:
    done = subprocess.run([sys.executable, DEMO], capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing is left running" in done.stdout
    assert "deploy orders" in done.stdout
    assert "undone by its numbers" in done.stdout


def test_every_promise_is_kept_in_containers(dockerd: Dockerd) -> None:
    env = os.environ | {"DOCKER_HOST": dockerd.host, "ATOLL_DEMO_BASES": json.dumps(dockerd.bases())}
    argv = [sys.executable, DEMO, "--engine", "docker"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=560, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "  without " not in done.stderr, "each of the seven services has an image"
    assert "nothing is left running" in done.stdout


@pytest.fixture
def folder() -> Iterator[str]:
    """A temporary folder for one demo: others may run at the same time. A short name, for the sockets in it."""
    with tempfile.TemporaryDirectory(prefix="demo-") as name:
        Path(name).chmod(0o755)  # services may run as users of their own
        yield name


def test_ctrl_c_ends_everything_in_order(folder: str) -> None:
    env = os.environ | {"TMPDIR": folder}
    demo = subprocess.Popen([sys.executable, DEMO], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    assert demo.stderr is not None
    try:
        for line in demo.stderr:  # ends with the demo, should it never come so far
            if "steady load" in line:
                break
        time.sleep(0.5)
        demo.send_signal(signal.SIGINT)
        out, err = demo.communicate(timeout=200)
    finally:
        demo.kill()
        demo.wait()
    assert "nothing is left running" in out, out + err
    assert "interrupted" in err
    assert demo.returncode == 1
    assert left_over(folder) == []
