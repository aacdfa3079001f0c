"""The proxy: Envoy, driven by a delta ADS server over a unix socket.

Owns everything that speaks Envoy. `app` makes `EnvoyProxy` and hands `command` to the keeper; nobody else knows that
the proxy is Envoy. It decides nothing: the table says all.
"""

from atoll.proxy.envoy import command
from atoll.proxy.tls import Door
from atoll.proxy.traffic import EnvoyProxy

__all__ = ["Door", "EnvoyProxy", "command"]
