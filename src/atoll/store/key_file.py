"""The vault's key: 32 random bytes in a file that only its owner reads. Never logged, never in an exception.

It is made once, complete or not at all, and never replaced: what was sealed with it could not be opened again.
"""

import base64
import binascii
import os
import secrets
from pathlib import Path
from typing import Final

from atoll.model.errors import UserError

KEY_BYTES: Final = 32  # AES-256


def read_key(path: Path) -> bytes | None:
    """The key, or None when there is no file. Raises UserError when others may read it, or it is not a key."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise UserError(
            f"The vault's key {path} cannot be read", exc.strerror or "", "give its owner access", id="vault-key"
        ) from exc
    with os.fdopen(fd, "rb") as file:
        if os.fstat(fd).st_mode & 0o077:
            raise UserError(
                f"The vault's key {path} is not private",
                "others than its owner may read it",
                f"`chmod 600 {path}`",
                id="vault-key",
            )
        text = file.read(1024)
    key = _decoded(text)
    if key is None:
        raise UserError(
            f"The vault's key {path} is damaged",
            "it does not hold a key of 32 bytes",
            "put back a copy of it",
            id="vault-key",
        )
    return key


def create_key(path: Path) -> bytes:
    """Make the key; when another process was first, its key. A crash at any instant leaves a whole file or none."""
    draft = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(as_text(secrets.token_bytes(KEY_BYTES)))
            file.flush()
            os.fsync(fd)
        try:
            os.link(draft, path)  # fails when it exists: O_EXCL for a file that is complete already
        except FileExistsError:
            pass  # the other one's key counts
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    key = read_key(path)
    assert key is not None
    return key


def as_text(key: bytes) -> bytes:
    """A key as its file holds it."""
    return base64.b64encode(key) + b"\n"


def _decoded(text: bytes) -> bytes | None:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        return None
    return key if len(key) == KEY_BYTES else None
