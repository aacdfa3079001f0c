"""Where the keeper keeps things: the one description of its two folders.

STATE_DIR survives a reboot (journals, logs, fixtures); RUN_DIR holds sockets.
"""

import os
from contextlib import suppress
from typing import NamedTuple


class Places(NamedTuple):
    """The absolute paths of both folders."""

    state_dir: str
    run_dir: str

    @property
    def keeper_socket(self) -> str:
        return f"{self.run_dir}/keeper.sock"

    @property
    def lock(self) -> str:
        return f"{self.state_dir}/keeper.lock"

    @property
    def fixtures(self) -> str:
        return f"{self.state_dir}/fixtures.json"

    @property
    def keeper_log(self) -> str:
        return f"{self.state_dir}/logs/keeper.log"

    @property
    def data(self) -> str:
        """The folders of services' own data, by their names."""
        return f"{self.state_dir}/data"

    def socket(self, name: str) -> str:
        """Where the shim of `name` listens."""
        return f"{self.run_dir}/r/{name}.sock"

    def journals(self, name: str) -> list[str]:
        """Where the journal of `name` may lie; the second place is for a full disk."""
        return [f"{self.state_dir}/replicas/{name}.journal", f"{self.run_dir}/r/{name}.journal"]

    def log(self, service: str, name: str) -> str:
        """Where the output of a replica goes (and `.1` beside it)."""
        return f"{self.state_dir}/logs/{service}/{name}.log"

    def make(self) -> None:
        """Make the folders, for this user only. Raises OSError."""
        for folder in (self.state_dir, self.run_dir, f"{self.run_dir}/r", f"{self.state_dir}/replicas"):
            os.makedirs(folder, 0o700, exist_ok=True)
        with suppress(OSError):  # a full disk must not keep a keeper from its replicas
            os.makedirs(f"{self.state_dir}/logs", 0o700, exist_ok=True)


def is_name(text: object) -> bool:
    """Whether it may name a replica or a service: no path, no surprise."""
    return (
        isinstance(text, str)
        and 0 < len(text) <= 120
        and text[0].isalnum()
        and all(char.isalnum() or char in "._-" for char in text)
    )
