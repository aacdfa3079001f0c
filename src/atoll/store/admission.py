"""What may be a secret: its name and its value. Pure; called by `vault` and by the shipped `MemoryVault`.

No message and no exception ever holds a value.
"""

import re
from collections.abc import Iterable
from typing import Final

from atoll.model.errors import NotFound, UserError
from atoll.model.suggest import did_you_mean

MAX_NAME: Final = 128  # characters
MAX_VALUE_BYTES: Final = 64 * 1024  # a key or a certificate chain fits; Linux allows 128 KiB per environment variable
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9\-_.]*")


def admit_name(name: str) -> None:
    """Raise UserError unless `name` may name a secret."""
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise UserError(
            f"{name[:MAX_NAME]!r} cannot name a secret",
            f"a name has 1 to {MAX_NAME} of a-z, 0-9, '-', '_' and '.', and begins with a letter or a digit",
            "choose another name, for example 'orders-db'",
            id="secret-invalid",
        )


def admit_value(name: str, value: str) -> bytes:
    """The value's UTF-8. Raises UserError when it cannot be the value of an environment variable."""
    encoded = value.encode(errors="surrogatepass")
    if len(encoded) > MAX_VALUE_BYTES:
        raise UserError(
            f"The secret {name} is too large",
            f"it has {len(encoded)} bytes, the limit is {MAX_VALUE_BYTES}",
            "keep it in a file that the service reads, and put that file's path here",
            id="secret-invalid",
        )
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise UserError(
            f"The secret {name} is not text",
            "it holds a NUL or bytes that are not UTF-8, which no environment variable can",
            "encode it, for example with base64, and decode it in the service",
            id="secret-invalid",
        )
    return encoded


def unknown(name: str, known: Iterable[str]) -> NotFound:
    """The error for a secret that was never set, or was removed."""
    return NotFound(
        f"There is no secret {name[:MAX_NAME]!r}",
        "it was never set in this environment, or was removed",
        did_you_mean(name, known) or f"set it: `atoll secret set {name[:MAX_NAME]}`",
        id="unknown-secret",
    )


def unknown_version(name: str, version: int, newest: int) -> NotFound:
    """The error for a version that the secret does not have."""
    return NotFound(
        f"The secret {name} has no version {version}",
        f"its newest is {newest}",
        "name an older one, or none",
        id="unknown-secret",
    )
