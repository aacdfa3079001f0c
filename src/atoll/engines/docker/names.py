"""What of dockerd's things is ours: names for people, labels as the proof. Pure."""

import hashlib
import os
import re
import zlib
from pathlib import Path
from typing import Literal, NamedTuple

ENVIRONMENT = "dev.atoll.environment"
SERVICE = "dev.atoll.service"
REPLICA = "dev.atoll.replica"
RELEASE = "dev.atoll.release"
KIND = "dev.atoll.kind"
PATH = "dev.atoll.path"

Kind = Literal[
    "replica",
    "run",  # one command to its end; whoever started it is waiting for it
    "probe",  # never started: something in its image or its volumes is looked at, or set
    "network",
    "volume",
]


def environment_id(state_dir: Path) -> str:
    """The id of the environment that keeps its state there: what has it on a label is that environment's alone.

    Another folder is another environment, although the workspace is the same: its rows know nothing of these containers.
    """
    return hashlib.blake2s(os.fsencode(state_dir.absolute()), digest_size=4).hexdigest()


class Names(NamedTuple):
    """Those of one environment, whose id no other one on this machine has."""

    environment: str

    def container(self, replica: str) -> str:
        """Of a replica, or of a command that is run."""
        return f"atoll-{self.environment}-{replica}"

    def network(self, service: str) -> str:
        """Of a service's own network."""
        return f"atoll-{self.environment}-{service}"

    def volume(self, service: str, path: str) -> str:
        """Of what a service keeps at `path`, as it sees it."""
        slug = re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-")[-40:].strip("-")
        return f"atoll-{self.environment}-{service}-{slug}-{zlib.crc32(path.encode()):08x}"

    def labels(self, kind: Kind, service: str = "", **more: str) -> dict[str, str]:
        """What marks a thing as ours."""
        return {ENVIRONMENT: self.environment, KIND: kind, **({SERVICE: service} if service else {}), **more}

    @property
    def filter(self) -> dict[str, list[str]]:
        """What asks dockerd for ours only."""
        return {"label": [f"{ENVIRONMENT}={self.environment}"]}
