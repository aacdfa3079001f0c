"""Whether the stores of a service that is not well can be reached: a hint for `why` and `doctor`, never a condition.

A service that starts without its database may be right to (it retries) or wrong to (it crashes); that is its business.
What of an address is a secret is not told.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

from atoll.model.errors import AtollError
from atoll.model.spec import SecretRef, Store
from atoll.model.state import Release
from atoll.model.store_url import parse
from atoll.model.templates import partly
from atoll.ports import Vault

REACH_WITHIN_S = 1.0  # somebody waits for `why`; a store that needs longer to accept is trouble, too

Dial = Callable[[str, int], Awaitable[str]]


async def dial(host: str, port: int) -> str:
    """Open a TCP connection and close it; "" when it could be opened, else what the other side does, as a predicate."""
    try:
        async with asyncio.timeout(REACH_WITHIN_S):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return f"does not answer within {REACH_WITHIN_S:g} s"
    except ConnectionRefusedError:
        return "refuses connections"
    except socket.gaierror:
        return "has a host name that is not known here"
    except OSError as exc:
        return f"cannot be reached: {exc.strerror or exc}"
    writer.close()
    return ""


async def troubles(release: Release, vault: Vault, dial: Dial) -> Sequence[str]:
    """A sentence for each store of the release that cannot be reached, all asked at once."""
    found = await asyncio.gather(
        *(_trouble(release, store, vault, dial) for store in release.spec.stores if store.server is None)
    )
    return [sentence for sentence in found if sentence]


async def _trouble(release: Release, store: Store, vault: Vault, dial: Dial) -> str:
    secret = isinstance(store.url, SecretRef)
    try:
        if isinstance(store.url, SecretRef):
            url = await vault.get(store.url.name, release.secrets.get(store.url.name))
        else:
            url = partly(store.url.value, {"service": release.service, "release": f"r{release.n}"})
        hosts = parse(url, store.type).hosts
    except (AtollError, ValueError):
        return ""  # told where the replica is started
    answers = await asyncio.gather(*(dial(host.strip("[]"), int(port)) for host, port in hosts if port.isdigit()))
    if not answers or not all(answers):
        return ""  # one member of a cluster is enough
    where = "" if secret else f" at {', '.join(f'{host}:{port}' for host, port in hosts)}"
    said = "cannot be reached" if secret and "host name" in answers[0] else answers[0]
    return f"its store {store.name}{where} {said}"
