"""Two machines with a real ssh between: a workspace on the client, `shop.production` served on the server, and nothing else there.

Or both on the client, `at_home`.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from two_machines import Machines

HERE = Path(__file__).parent
WITHIN_S = 90.0
LOAD = """
import collections, json, select, sys, urllib.request

seen = collections.Counter()
while not select.select([sys.stdin], [], [], 0.02)[0]:
    try:
        with urllib.request.urlopen(sys.argv[1], timeout=20) as answer:
            seen[json.load(answer)["version"]] += 1
    except OSError as exc:
        seen[f"failed: {exc}"] += 1
print(json.dumps(seen))
"""
GET = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=20).read().decode())"


class Far:
    """`atoll` is typed on the client. `table` is what atoll.toml says of the environment besides where it is."""

    def __init__(
        self,
        folder: Path,
        on: Machines,
        port: int,
        *,
        table: str = "",
        server: Mapping[str, str] | None = None,
        at_home: bool = False,
    ) -> None:
        self.folder, self.on, self.port = folder, on, port
        self._there = on.on_client() if at_home else on.on_server()
        self._host = f"{'unix://' if at_home else 'ssh://vm1'}{folder}/sr/shop.production.sock"
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("ATOLL", "DOCKER"))}
        self.socket = folder / "sr" / "shop.production.sock"
        self.server = kept | {"ATOLL_HOME": f"{folder}/sh", "ATOLL_RUN": f"{folder}/sr", **(server or {})}
        self.client = kept | {
            "ATOLL_HOME": f"{folder}/ch", "ATOLL_RUN": f"{folder}/cr", "ATOLL_ENV": "production",
            "ATOLL_SSH": on.ssh, "NO_COLOR": "1",
        }  # fmt: skip
        self.state = folder / "sh" / "served" / "shop" / "environments" / "production"
        self.root = folder / "ws"
        self.root.mkdir()
        self.write(table)
        self._keeper: subprocess.Popen[bytes] | None = None

    def write(self, table: str = "") -> None:
        """atoll.toml."""
        (self.root / "atoll.toml").write_text(
            f'name = "shop"\nservices = ["*"]\n[environments.production]\nhost = "{self._host}"\n'
            f'gateway = "127.0.0.1:{self.port}"\nports = "{self.port + 1}-{self.port + 400}"\n{table}\n'
        )

    def service(self, name: str, version: str, more: str = "", *, run: str = "") -> None:
        """An echo service, at /NAME."""
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        (folder / "echo_service.py").write_text((HERE / "echo_service.py").read_text())
        run = run or f'["{sys.executable}", "-S", "echo_service.py"]'
        (folder / "service.toml").write_text(
            f'run = {run}\nroute = "/{name}"\nrollout = "blue-green"\n'
            f'health = {{ ready = "/healthz", stable_for = "300ms", start_budget = "20s" }}\n{more}\n'
            f'[env]\nVERSION = "{version}"\nBIND = "{{host}}"\n'
        )

    def serve(self) -> None:
        """As its service manager starts it."""
        self._keeper = subprocess.Popen(self._act(), env=self.server, cwd="/", stdin=subprocess.DEVNULL)
        subprocess.run(self._act("--wait"), env=self.server, cwd="/", timeout=WITHIN_S, check=True)

    def _act(self, *option: str) -> list[str]:
        words = [sys.executable, "-P", "-m", "atoll.app.serve", "shop", "production", *option]
        return [*self._there, *words]

    def begin(self, *words: str, **env: str) -> "subprocess.Popen[str]":
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*self.on.on_client(), sys.executable, "-m", "atoll.app", *words],
            env=self.client | env, cwd=self.root, text=True, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe,
        )  # fmt: skip

    def run(self, *words: str, stdin: str = "", **env: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*self.on.on_client(), sys.executable, "-m", "atoll.app", *words],
            env=self.client | env, cwd=self.root, text=True, input=stdin, capture_output=True, timeout=WITHIN_S,
            check=False,
        )  # fmt: skip

    def atoll(self, *words: str, code: int = 0, stdin: str = "") -> str:
        """It must end with `code`; what it printed."""
        done = self.run(*words, stdin=stdin)
        assert done.returncode == code, f"atoll {words} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.atoll(*words, "--json"))

    def there(self, *words: str, stdin: str = "") -> str:
        """A command on the server."""
        done = subprocess.run(
            [*self._there, *words], env=self.server, cwd="/", text=True, input=stdin, capture_output=True,
            timeout=WITHIN_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def atoll_there(self, *words: str, stdin: str = "") -> Any:
        """`atoll WORDS --json`, typed by root on the machine that serves, decoded."""
        program = [sys.executable, "-m", "atoll.app", *words, "--env", "production", "--json"]
        return json.loads(self.there(*program, stdin=stdin))

    def get(self, path: str) -> Any:
        """Through the gateway, decoded."""
        return json.loads(self.there(sys.executable, "-c", GET, f"http://127.0.0.1:{self.port}{path}"))

    @contextlib.contextmanager
    def load(self, path: str) -> Iterator[dict[str, int]]:
        """What was answered how often, when the block has ended."""
        seen: dict[str, int] = {}
        words = [*self._there, sys.executable, "-c", LOAD, f"http://127.0.0.1:{self.port}{path}"]
        loader = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            yield seen
        finally:
            out, _ = loader.communicate("\n", timeout=WITHIN_S)
            seen.update(json.loads(out))

    def until(self, what: Callable[[], Any]) -> Any:
        """Ask until it is true; errors of the way count as not yet."""
        deadline, last = time.monotonic() + WITHIN_S, None
        while (began := time.monotonic()) < deadline:
            try:
                if last := what():
                    return last
            except (OSError, AssertionError, KeyError, IndexError, ValueError) as exc:
                last = exc
            time.sleep(max(0.05, time.monotonic() - began))
        raise AssertionError(f"not within {WITHIN_S} s; last: {last!r}")

    def close(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(self._act("--stop"), env=self.server, cwd="/", timeout=WITHIN_S, check=False)
        if self._keeper is not None:
            self._keeper.kill()
            self._keeper.wait()
