"""What of a backup becomes the settings of this machine's daemon."""

from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from tests.backup.made import environment

from atoll.app.backups import restore
from atoll.app.config import read, write
from atoll.backup.restoring import Wish
from atoll.workspace.places import Places


@pytest.mark.parametrize("signed", [True, False])
def test_the_daemon_is_told_to_run_a_program_only_by_a_backup_that_somebody_vouches_for(
    signed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = environment(tmp_path / "made")
    config = read(made.state)
    assert config is not None
    write(
        made.state,
        msgspec.structs.replace(config, environment=msgspec.structs.replace(config.environment, envoy="/evil")),
    )
    backup, key = made.backup(tmp_path / "b"), made.key()
    monkeypatch.setenv("ATOLL_HOME", str(tmp_path / "home"))
    with TemporaryDirectory(prefix="atoll-") as run:  # a short one, for sockets
        monkeypatch.setenv("ATOLL_RUN", run)
        at = Places.served("shop", "production")
        at.create()
        restore(at, backup, key if signed else None, Wish(without_secrets=not signed), other=False, alive=lambda: False)
        told = read(at.state)
    assert told is not None
    assert (told.environment.envoy, told.state, told.served) == ("/evil" if signed else None, str(at.state), True)
