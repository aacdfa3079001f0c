"""Replicas as plain processes on this machine, kept by `atoll.keeper`.

Owns the asyncio side of the keeper's wire, the users that services run as, reading of logs, and the question who
listens on a port. Used by `realise` through `ports.Host`. Starts nothing itself: the keeper does.
"""

from atoll.engines.process.host import ProcessHost

__all__ = ["ProcessHost"]
