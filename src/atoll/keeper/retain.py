"""How much of the past stays on disk: logs of replicas that are gone. Called by the keeper when one is forgotten."""

import os
from contextlib import suppress

from atoll.keeper.places import Places

KEPT_LOGS = 10  # replicas per service, and runs per job, whose output is kept once forgotten; 16 MiB each at most


def prune_logs(places: Places, service: str, held: set[str]) -> None:
    """Remove the oldest logs of a service's forgotten replicas beyond KEPT_LOGS; never of one in `held`.

    Ids with dots (`orders.nightly.20261126T030000.1`) are counted by what is before the second one, so that a job that
    runs each minute leaves the others' output alone.
    """
    folder = os.path.dirname(places.log(service, "any"))
    ages: dict[str, float] = {}
    with suppress(OSError):
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name.removesuffix(".1").removesuffix(".log")
                if name not in held:
                    ages[name] = max(ages.get(name, 0.0), entry.stat().st_mtime)
    counts: dict[str, int] = {}
    for name in sorted(ages, key=lambda each: ages[each], reverse=True):
        kind = ".".join(name.split(".")[:2]) if "." in name else ""
        counts[kind] = counts.get(kind, 0) + 1
        if counts[kind] <= KEPT_LOGS:
            continue
        for path in (places.log(service, name), places.log(service, name) + ".1"):
            with suppress(OSError):
                os.unlink(path)
