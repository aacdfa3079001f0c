"""A real registry of images (Debian's docker-registry), for tests."""

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

UP_S = 30.0
MISSING = "" if shutil.which("docker-registry") else "docker-registry is not here (scripts/apt)"


class Registry(NamedTuple):
    """A running one."""

    address: str

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def tags(self, repository: str, login: str = "") -> list[str]:
        asked = urllib.request.Request(f"http://{self.address}/v2/{repository}/tags/list")
        if login:
            asked.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:
                return list(json.load(answer)["tags"] or ())
        except urllib.error.HTTPError as exc:
            if exc.code != 404:
                raise
            return []


@contextlib.contextmanager
def registry_in(folder: Path, settings: Mapping[str, object] | None = None) -> Iterator[Registry]:
    """One that keeps all in the folder, for as long as it lasts. `settings`: of its own file."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    content = {"version": 0.1, "storage": {"filesystem": {"rootdirectory": str(folder / "data")}}, **(settings or {})}
    (folder / "config.yml").write_text(json.dumps({**content, "http": {"addr": address}}))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + UP_S
        while True:
            try:
                with socket.create_connection(("127.0.0.1", Registry(address).port), 1):
                    break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
        yield Registry(address)
    finally:
        process.kill()
        process.wait()
