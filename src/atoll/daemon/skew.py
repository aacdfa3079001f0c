"""Requests of a client of another version: what of them would be lost without a word is refused. `api` calls it.

A field that this version does not know is dropped by decoding. That is right for one that says nothing; one that says
something would be a promise that nobody keeps.
"""

from typing import Any

import msgspec
from starlette.requests import Request

from atoll import __version__
from atoll.model.errors import Refused
from atoll.model.version import HEADER, advice, difference

_SHOWN = 3


def client_of(request: Request) -> str:
    """The version of the client, when it is an Atoll of another one; else ""."""
    version = str(request.headers.get(HEADER, ""))[:40]
    return "" if version == __version__ else version


def refuse_unknown(raw: bytes, body: Any, client: str) -> None:
    """Raises Refused when `raw` says what `body`, its decoded form, has no place for."""
    lost = list(_lost(msgspec.json.decode(raw or b"{}"), msgspec.to_builtins(body), ""))
    if lost:
        more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
        raise Refused(
            f"this daemon does not know {', '.join(lost[:_SHOWN])}{more}",
            f"the request would be done without; {difference(client, __version__)}",
            advice(client, __version__),
            id="versions-differ",
        )


def _lost(sent: Any, known: Any, path: str) -> list[str]:
    if isinstance(sent, dict) and isinstance(known, dict):
        found = []
        for name, value in sent.items():
            place = f"{path}.{name}" if path else name
            if name in known:
                found += _lost(value, known[name], place)
            elif value not in (None, False, 0, "", [], {}):
                found.append(place)
        return found
    if isinstance(sent, list) and isinstance(known, list) and len(sent) == len(known):
        return [
            each
            for number, pair in enumerate(zip(sent, known, strict=True))
            for each in _lost(*pair, f"{path}[{number}]")
        ]
    return []
