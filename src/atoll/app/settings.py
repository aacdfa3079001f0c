"""How a daemon changes the configuration that it was started with: checked on this machine, written, taken up by a restart."""

import os
from pathlib import Path

from msgspec.structs import replace

from atoll.app.config import Config, write
from atoll.app.containers import require, settled
from atoll.app.gateway import refuse_gateway
from atoll.daemon.identity import Settings
from atoll.keeper.client import KeeperClient, KeeperError
from atoll.model.errors import Unreachable
from atoll.model.spec import EnvironmentSpec
from atoll.proxy import command as envoy_command


def settings(config: Config) -> Settings:
    """Those of the daemon that was started with `config`."""
    state, run = Path(config.state), Path(config.run)
    keeper = KeeperClient(run)

    def keep(environment: EnvironmentSpec) -> None:
        wanted = replace(config, environment=settled(environment))
        if environment.engine == "docker":
            require(environment)
        envoy = envoy_command(state, run, environment.envoy)
        refuse_gateway(wanted, config, serving=True)
        write(state, wanted)
        if environment.envoy == config.environment.envoy:
            return
        try:
            keeper.ensure("proxy", envoy, {"PATH": os.defpath}, state / "logs" / "proxy.log")
        except KeeperError as exc:
            raise Unreachable(exc.what, exc.why, exc.fix, id="keeper-unreachable") from exc

    return Settings(config.environment, keep, lambda: keeper.restart("daemon"))
