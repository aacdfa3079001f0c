"""A chain and its key: read from files, judged before any client meets them; and a stand-in where there is none yet."""

import datetime as dt
import re
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from atoll.model.certificate import Certificate, Unusable

MAX_BYTES = 256 * 1024
MIN_RSA_BITS = 2048  # Envoy takes no smaller key
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_STAND_IN_S = 7 * 86_400.0
_COMMON_NAME_MAX = 64  # X.520


def read(cert: Path, key: Path) -> Certificate:
    """A pair of files as they are now. Raises Unusable with the file and the reason."""
    return made(_text(cert), _text(key), str(cert), str(key))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise Unusable(str(path), f"cannot be read: {(exc.strerror or str(exc)).lower()}") from exc
    if len(data) > MAX_BYTES:
        raise Unusable(str(path), "is larger than 256 KiB")
    if not data.strip():
        raise Unusable(str(path), "is empty")
    return data.decode("ascii", "replace")


def made(chain: str, key: str, chain_file: str = "", key_file: str = "") -> Certificate:
    """The pair of two PEM texts. Raises Unusable: not PEM, a key that is encrypted, of another certificate, or too weak."""
    private = _key(key, key_file)
    try:
        certificates = x509.load_pem_x509_certificates(chain.encode())
    except (ValueError, UnsupportedAlgorithm) as exc:
        hint = " (it holds a private key)" if "PRIVATE KEY-----" in chain else ""
        raise Unusable(chain_file, f'holds no certificate in PEM ("-----BEGIN CERTIFICATE-----"){hint}') from exc
    own = certificates[0]
    if own.public_key() != private.public_key():
        if any(each.public_key() == private.public_key() for each in certificates[1:]):
            raise Unusable(chain_file, "has the host's own certificate not first")
        raise Unusable(key_file, f"is not the key of {chain_file or 'the certificate'}")
    for above, below in zip(certificates[1:], certificates, strict=False):
        if below.issuer != above.subject:
            raise Unusable(
                chain_file, f"is not in order: {_name(below.issuer)} signed a certificate and does not follow it"
            )
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", chain, re.DOTALL)
    return Certificate(
        chain="\n".join(blocks) + "\n",
        key=key,
        hosts=_hosts(own),
        issuer=_name(own.issuer),
        starts_wall=own.not_valid_before_utc.timestamp(),
        ends_wall=own.not_valid_after_utc.timestamp(),
        fingerprint=own.fingerprint(hashes.SHA256()).hex(),
    )


def _key(text: str, file: str) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    if "ENCRYPTED" in text:
        raise Unusable(file, "is encrypted with a password, which nobody is there to type")
    try:
        key = serialization.load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The cause is left out: it may quote the key.
        raise Unusable(file, 'holds no private key in PEM ("-----BEGIN PRIVATE KEY-----")') from None
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < MIN_RSA_BITS:
            raise Unusable(file, f"is an RSA key of {key.key_size} bits; {MIN_RSA_BITS} is the least")
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return key
    raise Unusable(file, "is neither an RSA key nor one on P-256, P-384 or P-521, which browsers and Envoy take")


def _hosts(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return (_name(certificate.subject),)
    return (
        *found.get_values_for_type(x509.DNSName),
        *(str(address) for address in found.get_values_for_type(x509.IPAddress)),
    )


def _name(name: x509.Name) -> str:
    for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        for attribute in name.get_attributes_for_oid(oid):
            return str(attribute.value)
    return name.rfc4514_string() or "nobody"


def new_key() -> str:
    """A private key on P-256, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def stand_in(host: str, now_wall: float) -> Certificate:
    """What is shown until there is a certificate: self-signed, so that a client is told why instead of being cut off."""
    pem = new_key()
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Atoll: there is no certificate yet"),
            x509.NameAttribute(NameOID.COMMON_NAME, host[:_COMMON_NAME_MAX]),
        ]
    )
    now = dt.datetime.fromtimestamp(now_wall, dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + dt.timedelta(seconds=_STAND_IN_S))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    chain = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    return made(chain, pem)
