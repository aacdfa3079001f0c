"""What a daemon is told of its environment."""

import os
import stat
from pathlib import Path

from atoll.app.config import Config, read, write
from atoll.model.environment import EnvironmentSpec, Notify
from atoll.model.spec import Plain


def test_it_is_for_its_owner_alone_since_the_address_of_a_webhook_is_as_good_as_a_password(tmp_path: Path) -> None:
    environment = EnvironmentSpec(name="local", notify=(Notify(url=Plain("https://hooks.example.com/T0/SECRET")),))
    config = Config(workspace="shop", root="/shop", state=str(tmp_path), run="/run/x", environment=environment)
    before = os.umask(0o022)
    try:
        assert write(tmp_path, config)
    finally:
        os.umask(before)
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read(tmp_path) == config
    assert not write(tmp_path, config)
