"""An environment with everything that a backup holds, and a backup of it."""

from pathlib import Path

import pytest
from tests.backup.made import Made, environment


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return environment(tmp_path / "one")


@pytest.fixture
def backup(made: Made, tmp_path: Path) -> Path:
    return made.backup(tmp_path / "b.backup")
