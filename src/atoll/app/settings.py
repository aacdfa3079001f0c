"""How a daemon changes the configuration that it was started with: checked on this machine, written, taken up by a restart.

Another Envoy of the environment's own is found to be there, and takes over when the machine's service is reloaded.
"""

from pathlib import Path

from msgspec.structs import replace

from atoll.app.config import Config, write
from atoll.app.containers import require, settled
from atoll.app.gateway import refuse_gateway
from atoll.daemon.identity import Settings
from atoll.keeper.client import KeeperClient
from atoll.model.environment import EnvironmentSpec
from atoll.proxy import User, program
from atoll.proxy import command as envoy_command


def settings(config: Config, proxy_user: User | None) -> Settings:
    """Those of the daemon that was started with `config`, beside a proxy of that user's."""
    state, run = Path(config.state), Path(config.run)

    def check(environment: EnvironmentSpec) -> None:
        wanted = replace(config, environment=settled(environment))
        if environment.engine == "docker":
            require(environment)
        program(environment.envoy)
        refuse_gateway(wanted, config, serving=True)

    def keep(environment: EnvironmentSpec) -> None:
        envoy_command(state, run, environment.envoy, proxy_user)
        write(state, replace(config, environment=settled(environment)))

    return Settings(config.environment, check, keep, lambda: KeeperClient(run).restart("daemon"))
