"""What the keeper of an environment keeps running: the proxy and the daemon, the same whoever starts them."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from atoll.keeper.client import KeeperClient


def ensure_both(keeper: KeeperClient, state: Path, proxy: Sequence[str], daemon_env: Mapping[str, str]) -> None:
    """Have both run, the daemon with these variables; what runs so already is left alone. Raises KeeperError."""
    keeper.ensure("proxy", proxy, {"PATH": os.defpath}, state / "logs" / "proxy.log")
    daemon = [sys.executable, "-P", "-m", "atoll.app.daemon", str(state)]
    keeper.ensure("daemon", daemon, daemon_env, state / "logs" / "daemon.log")
