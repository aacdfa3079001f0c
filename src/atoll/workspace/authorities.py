"""The certificates that calls trust (`ca`): read into the specification, so that a release keeps those it was made with.

Called by the loader. They are public; a private key in the file is refused.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from atoll.model.catalogue.ids import ErrorId
from atoll.model.errors import Problem

MAX_BYTES = 256 * 1024  # all of Mozilla's authorities are 220 KiB


def read_authorities(folder: Path, file: str, given: dict[str, Any]) -> Iterator[Problem]:
    """Put each file's content in place of its path in `given`; a problem for each that holds no certificates."""
    for name, call in given.get("calls", {}).items():
        if call.ca:
            text, wrong, fix, id = _certificates(folder / call.ca)
            given["calls"] = {**given["calls"], name: replace(call, ca=text)}
            if wrong:
                field = f"calls.{name}.ca"
                yield Problem(file=file, field=field, what=f'{field}: "{call.ca}" {wrong}', fix=fix, id=id)


def _certificates(path: Path) -> tuple[str, str, str, ErrorId]:
    """Its text, or what is wrong with it, the fix, and its page's id."""
    import ssl  # 10 ms that only those pay who need it

    try:
        with path.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as exc:
        return (
            "",
            f"cannot be read: {exc.strerror or exc}",
            "it is relative to the service's folder, or absolute",
            "file-unreadable",
        )
    pem = 'certificates in PEM: "-----BEGIN CERTIFICATE-----"'
    if len(data) > MAX_BYTES:
        return "", "is larger than 256 KiB", f"it holds {pem}", "file-not-understood"
    if b"PRIVATE KEY-----" in data:
        return (
            "",
            "holds a private key, which nobody but its owner should have",
            f"it holds {pem}",
            "file-not-understood",
        )
    try:
        text = data.decode("ascii", "strict")
        ssl.create_default_context(cadata=text or "none")  # an empty one would mean the machine's
    except (ValueError, ssl.SSLError):
        return "", "holds no certificates", f"it holds {pem}", "file-not-understood"
    return text, "", "", "file-not-understood"
