"""Whether the gateway can open as a configuration asks for, found out before anything is started or changed."""

from pathlib import Path

from atoll.app.config import Config
from atoll.cli.machine import gateway_trouble, listeners
from atoll.model.environment import Tls
from atoll.model.errors import UserError


def refuse_gateway(config: Config, known: Config | None, *, serving: bool) -> None:
    """Raise UserError for a gateway that cannot listen, or has no usable certificate: services that nobody can reach are no success.

    `known` is what runs so far, and `serving` whether its proxy does. A gateway that stays as it is is not looked at.
    """
    gateway = config.environment.gateway
    moved = known is not None and known.environment.gateway != gateway
    if moved or not serving:
        ours = (
            {place.port for place in listeners(known.environment.gateway)} if known is not None and serving else set()
        )
        for place in listeners(gateway):
            if place.port in ours or (trouble := gateway_trouble(place)) is None:
                continue  # Envoy gives up what it has before it takes what is new
            what = f"the gateway cannot listen on {place}"
            raise UserError(what, trouble.why, trouble.fix, id="gateway-port-taken")
    if (known is None or moved) and gateway.tls is not None:
        _refuse_unusable_pairs(Path(config.root), gateway.tls)


def _refuse_unusable_pairs(root: Path, tls: Tls) -> None:
    """A pair that was never good is a mistake to correct now; one that breaks later costs nothing, the last good one stays."""
    if not tls.certificates:
        return
    from atoll.certificates.pair import read
    from atoll.model.certificate import Unusable

    for files in tls.certificates:
        try:
            read(root / Path(files.cert).expanduser(), root / Path(files.key).expanduser())
        except Unusable as exc:
            raise UserError(
                f"the gateway's certificate cannot be used: {exc.file}",
                exc.why,
                "put a good pair there, or correct `certificates` of `tls` in atoll.toml",
                id="certificate-unusable",
            ) from exc
