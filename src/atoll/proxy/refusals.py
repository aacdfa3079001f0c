"""Whose fault a refusal is, and how a person reads it. Pure; `EnvoyProxy` calls it."""

import re
from collections.abc import Iterable, Mapping

from atoll.model.traffic import Table
from atoll.proxy.ads import Verdict
from atoll.proxy.names import GATEWAY, PLAIN, edge_name
from atoll.proxy.resources import CDS, EDS, LDS, RDS, SDS, Key, Made

_KINDS = {CDS: "cluster", EDS: "endpoints", LDS: "listener", RDS: "routes", SDS: "certificate"}
_BIND = re.compile(r"cannot bind '([^']+)': ([^;]+)")
SHOWN = 3  # sentences of one problem; the rest is counted


def by_service(refused: Mapping[Key, str], made: Made, among: frozenset[str]) -> dict[str, str]:
    """The services to blame, of those in `among`, with Envoy's words: the first owner of a resource, or all of a shared one."""
    found: dict[str, str] = {}
    for key, text in refused.items():
        owners = [owner for owner in made[key].owners if owner in among] if key in made else []
        for owner in owners if key == (RDS, GATEWAY) else owners[:1]:
            found.setdefault(owner, f"Envoy refused the {_KINDS[key[0]]} {key[1]}: {text}")
    return found


def stalled(waited: Iterable[Key], made: Made, among: frozenset[str]) -> dict[str, str]:
    """The same for resources that Envoy neither took nor refused."""
    return by_service(dict.fromkeys(waited, "no answer"), made, among)


def ambiguous(verdict: Verdict) -> bool:
    """Whether the blamed may be innocent: a shared resource was refused, or one stuck resource held up the others."""
    return not verdict.refused or (RDS, GATEWAY) in verdict.refused


def problem(refused: Mapping[Key, str], table: Table) -> str:
    """Standing refusals in sentences; "" for none."""
    places = {
        edge_name(caller, edge): (caller, edge) for caller, entry in table.services.items() for edge in entry.edges
    }
    sentences = []
    for key, text in sorted(refused.items()):
        bind = _BIND.search(text)
        if key == (LDS, GATEWAY):
            who = "the gateway"
        elif key == (LDS, PLAIN):
            who = "the gateway's plain HTTP"
        elif key[1] in places:
            caller, edge = places[key[1]]
            who = f"{caller} r{edge.caller_release}'s calls to {edge.callee}"
        else:
            who = f"the {_KINDS[key[0]]} {key[1]}"
        if bind:
            sentences.append(f"{who} cannot listen on {bind[1]}: {bind[2].strip().lower()}")
        else:
            sentences.append(f"Envoy refuses {who}: {text}")
    more = len(sentences) - SHOWN
    return "; ".join(sentences[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
