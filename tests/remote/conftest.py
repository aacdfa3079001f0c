"""A workspace on a client, a daemon of pretend on a server, and the real command line over the real ssh between them."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from two_machines import Machines, machines

from atoll.testing.fake_control import Served


class Shop:
    """What a person has on the client. `far` is the socket on the server."""

    def __init__(self, both: Machines, folder: Path) -> None:
        self.machines, self.folder = both, folder
        self.far = folder / "far.sock"
        self.root = folder / "ws"
        (self.root / "orders").mkdir(parents=True)
        (self.root / "orders" / "service.toml").write_text('run = "true"\n')
        self.write()
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("ATOLL", "NO_COLOR"))}
        self.env |= {
            "ATOLL_HOME": str(folder / "home"), "ATOLL_RUN": str(folder / "run"), "ATOLL_SSH": both.ssh,
            "ATOLL_ENV": "production", "NO_COLOR": "1",
        }  # fmt: skip

    def write(self, host: str = "", more: str = "") -> None:
        """Write atoll.toml."""
        host = host or f"ssh://vm1{self.far}"
        text = f'name = "shop"\n[environments.production]\nhost = "{host}"\n{more}\n'
        (self.root / "atoll.toml").write_text(text)

    @contextlib.contextmanager
    def begun(self, *args: str, **env: str) -> Iterator[subprocess.Popen[str]]:
        """`atoll ARGS` on the client; ended at the latest with the block."""
        command = [*self.machines.on_client(), sys.executable, "-m", "atoll.app", *args]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        running = subprocess.Popen(command, cwd=self.root, env=self.env | env, text=True, **streams)  # type: ignore[call-overload]
        try:
            yield running
        finally:
            running.kill()
            running.communicate()

    def atoll(self, *args: str, code: int = 0, **env: str) -> tuple[str, str]:
        """It must end with `code`; its output and its errors."""
        with self.begun(*args, **env) as running:
            out, err = running.communicate(timeout=120)
        assert running.returncode == code, f"atoll {args} ended with {running.returncode}:\n{out}\n{err}"
        return out, err


@pytest.fixture
def shop() -> Iterator[Shop]:
    """Short paths, since sockets want them."""
    with tempfile.TemporaryDirectory(prefix="atl-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with machines(folder) as both:
            yield Shop(both, folder)


@pytest.fixture
def daemon(shop: Shop) -> Iterator[Served]:
    with Served(shop.far) as fake:
        fake.control.settings = fake.control.settings.__class__(name="production")
        yield fake
