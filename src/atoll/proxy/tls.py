"""TLS at the gateway in Envoy's words: certificates as secrets (SDS), the gateway's transport, plain HTTP beside it. Pure.

A certificate is a resource of its own that the listener only names. So a new one is one resource: no listener changes, no
connection is drained, and a new handshake gets it.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from atoll.model.certificate import Certificate
from atoll.proxy.names import PLAIN
from atoll.proxy.protos import extension, message
from atoll.proxy.resources import RDS, SDS, Key, Resource

# Mozilla's "intermediate" (ssl-config.mozilla.org), without DHE, which BoringSSL has not. TLS 1.3 has its own.
_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
_CURVES = ("X25519", "P-256", "P-384")
_VERSIONS = {"1.2": "TLSv1_2", "1.3": "TLSv1_3"}
_TLS = "envoy.extensions.transport_sockets.tls.v3."


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """What of the gateway's TLS stands as long as the daemon does. Certificates go by their secrets' names."""

    secrets: tuple[str, ...]  # the first is shown to who asks for a host that none of them names
    minimum: str = "1.2"
    hsts_s: int = 0
    plain_port: int | None = None


def transport(door: Door) -> dict[str, Any]:
    """The gateway's transport socket: HTTP/2 or 1.1 by ALPN."""
    source = {"ads": {}, "resource_api_version": "V3"}
    return extension(
        "envoy.transport_sockets.tls",
        _TLS + "DownstreamTlsContext",
        common_tls_context={
            "tls_params": {
                "tls_minimum_protocol_version": _VERSIONS[door.minimum],
                "tls_maximum_protocol_version": "TLSv1_3",
                "cipher_suites": _CIPHERS,
                "ecdh_curves": _CURVES,
            },
            "alpn_protocols": ("h2", "http/1.1"),
            "tls_certificate_sds_secret_configs": [{"name": name, "sds_config": source} for name in door.secrets],
        },
    )


def secrets(certificates: Mapping[str, Certificate]) -> dict[Key, Resource]:
    """Each certificate as a secret."""
    made = {}
    for name, certificate in certificates.items():
        pair = {
            "certificate_chain": {"inline_string": certificate.chain},
            "private_key": {"inline_string": certificate.key},
        }
        body = message(_TLS + "Secret")(name=name, tls_certificate=pair)
        made[SDS, name] = Resource.of(body, owners=(), endpoints="")
    return made


def plain_routes(https_port: int, door: Door, answers: Mapping[str, str]) -> dict[Key, Resource]:
    """What plain HTTP is answered: an authority's questions by their exact path, everything else by the way to HTTPS."""
    if door.plain_port is None:
        return {}
    routes: list[dict[str, Any]] = [
        {
            "match": {"path": path},
            "direct_response": {"status": 200, "body": {"inline_string": answer}},
        }
        for path, answer in sorted(answers.items())
    ]
    redirect: dict[str, Any] = {"https_redirect": True, "response_code": "PERMANENT_REDIRECT"}
    if (door.plain_port, https_port) != (80, 443):
        redirect["port_redirect"] = https_port
    routes.append({"match": {"prefix": "/"}, "redirect": redirect})
    host = {"name": "*", "domains": ["*"], "routes": routes}
    body = message("envoy.config.route.v3.RouteConfiguration")(name=PLAIN, virtual_hosts=[host])
    return {(RDS, PLAIN): Resource.of(body, owners=(), endpoints="")}
