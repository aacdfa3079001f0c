"""The proxy: Envoy, driven by a delta ADS server over a unix socket.

Owns everything that speaks Envoy. `app` makes `EnvoyProxy` and hands `command` to the keeper; nobody else knows that
the proxy is Envoy. It decides nothing: the table says all.
"""

from atoll.proxy.envoy import command, program
from atoll.proxy.handover import PARENT_S, admin_of, let_take_over, runs_as, stamp, terms, took_over
from atoll.proxy.leaving import emptied
from atoll.proxy.sockets import Sockets, User
from atoll.proxy.tls import Door
from atoll.proxy.traffic import EnvoyProxy

__all__ = [
    "PARENT_S", "Door", "EnvoyProxy", "Sockets", "User", "admin_of", "command", "emptied", "let_take_over", "program", "runs_as", "stamp", "terms", "took_over",
]  # fmt: skip
