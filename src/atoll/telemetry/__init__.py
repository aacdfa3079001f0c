"""Golden signals, kept: one hour by the second in memory, a month by the minute in a file of its own.

`app` makes `Telemetry` and hands it to the daemon, whose collector records what the proxy counted; everybody else asks
for windows. It measures nothing itself and judges nothing. Losing its file loses history, never traffic or state.
"""

from atoll.telemetry.signals import Telemetry

__all__ = ["Telemetry"]
