"""The proxy: Envoy, driven by a delta ADS server over a unix socket.

Owns everything that speaks Envoy. `app` makes `EnvoyProxy` and hands `command` to the keeper; nobody else knows that
the proxy is Envoy. It decides nothing: the table says all.
"""

from atoll.proxy.envoy import admin_socket, command
from atoll.proxy.handover import PARENT_S, stamp, terms, took_over
from atoll.proxy.tls import Door
from atoll.proxy.traffic import EnvoyProxy

__all__ = ["PARENT_S", "Door", "EnvoyProxy", "admin_socket", "command", "stamp", "terms", "took_over"]
