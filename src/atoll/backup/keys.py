"""The vault's key outside its machine: in a file of its own, sealed with a passphrase; and what else is derived from it.

A passphrase is stretched by scrypt (RFC 7914), what is sealed is sealed with AES-256-GCM. What the file says of itself is
authenticated with it. Neither the key nor a passphrase is in any exception or log.
"""

import hashlib
import hmac
import secrets
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from atoll.model.errors import UserError
from atoll.store.key_file import KEY_BYTES

LEAST_CHARACTERS: Final = 12
_FORMAT: Final = 1
# OWASP's password storage sheet: as hard to guess as 2^17 in one lane, in 32 MiB, which a small machine has to spare.
_N, _R, _P = 2**15, 8, 3
_MOST_N, _MOST_R, _MOST_P = 2**20, 16, 16  # a file of somebody else's making may ask for all memory there is
_NONCE_BYTES: Final = 12
_ABOUT: Final = "The key of an environment's secrets, sealed with a passphrase. For `atoll restore --key`."


class KeyFile(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the file; bytes as base64."""

    about: str = _ABOUT
    format: int = _FORMAT
    workspace: str
    environment: str
    key_id: str
    n: int = _N
    r: int = _R
    p: int = _P
    salt: bytes
    sealed: bytes = b""


def admit(passphrase: str) -> None:
    """Raise UserError for one that is guessed too soon."""
    if len(passphrase) < LEAST_CHARACTERS:
        raise UserError(
            "the passphrase is too short",
            f"it has {len(passphrase)} characters; whoever has the file may try as many as they like",
            f"take {LEAST_CHARACTERS} or more: five words by chance are good",
            id="backup-key",
        )


def id_of(key: bytes) -> str:
    """A name of the key, which says nothing of it."""
    return derived(key, "id").hex()[:16]


def derived(key: bytes, purpose: str) -> bytes:
    """32 bytes for one purpose."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"atoll backup {purpose}".encode()).derive(key)


def mac(key: bytes, manifest: bytes) -> bytes:
    """What nobody without the key can make for this manifest, as hexadecimal digits."""
    return hmac.new(derived(key, "manifest"), manifest, hashlib.sha256).hexdigest().encode()


def same(one: bytes, other: bytes) -> bool:
    """Compared in a time that tells nothing."""
    return hmac.compare_digest(one, other)


def seal(key: bytes, plain: bytes, bound: bytes) -> bytes:
    """`plain` under `key`, bound to what goes with it in the open."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound)


def unseal(key: bytes, sealed: bytes, bound: bytes) -> bytes | None:
    """What was sealed; None when this is not the key, or something was changed."""
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound)
    except (InvalidTag, ValueError):
        return None


def written(key: bytes, passphrase: str, workspace: str, environment: str) -> bytes:
    """The key file. Takes a tenth of a second and 32 MiB. Raises UserError for a weak passphrase."""
    admit(passphrase)
    bare = KeyFile(workspace=workspace, environment=environment, key_id=id_of(key), salt=secrets.token_bytes(16))
    sealed = seal(_stretched(passphrase, bare), key, _open_part(bare))
    return msgspec.json.format(msgspec.json.encode(msgspec.structs.replace(bare, sealed=sealed))) + b"\n"


def read(data: bytes, passphrase: str) -> bytes:
    """The key. Raises UserError: no key file, or another passphrase."""
    try:
        file = msgspec.json.decode(data, type=KeyFile)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise _unusable("it is no key file that `atoll backup --key` wrote") from exc
    if file.format != _FORMAT:
        raise _unusable(f"its format is {file.format}, this version knows {_FORMAT}")
    if not (2 <= file.n <= _MOST_N and 1 <= file.r <= _MOST_R and 1 <= file.p <= _MOST_P) or file.n & (file.n - 1):
        raise _unusable("it asks for more memory than any key of ours")
    key = unseal(_stretched(passphrase, file), file.sealed, _open_part(file))
    if key is None or len(key) != KEY_BYTES or id_of(key) != file.key_id:
        raise _unusable("the passphrase is another one, or the file was changed", "type the passphrase once more")
    return key


def _stretched(passphrase: str, file: KeyFile) -> bytes:
    return Scrypt(salt=file.salt, length=KEY_BYTES, n=file.n, r=file.r, p=file.p).derive(passphrase.encode())


def _open_part(file: KeyFile) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(file, sealed=b""), order="deterministic")


def _unusable(why: str, fix: str = "name the file that `atoll backup --key` wrote of this environment") -> UserError:
    return UserError("the key file cannot be used", why, fix, id="backup-key")
