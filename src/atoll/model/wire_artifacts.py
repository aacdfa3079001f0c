"""What the API says of artifacts on their way to a machine: what is there, what is missing, what they need of it.

The two sides are `pipeline.ship` (who sends) and `pipeline.depot` (who keeps).
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from atoll.model.cache import CacheSpec
from atoll.model.spec import Store
from atoll.model.state import Artifact, Author
from atoll.model.wire import Draft, ErrorView


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an artifact finds outside itself where it was built, and must find where it runs."""

    kind: Literal[
        "native",  # code for the machine's kind: `what` is a file's; the artifact's platform says which
        "glibc",  # `what` is the newest version of it that native code asks for
        "python",  # an interpreter that a virtual environment leads to: `what` is its path
        "program",  # what `run` begins with: `what` is its path, or a name that is looked for on the PATH
        "folder",  # a toolchain's, in a variable that the artifact is run with
        "link",  # `what` is where a link of the artifact leads to
    ]
    what: str
    by: str  # who needs it: a file of the artifact, "run", a variable
    version: str = ""  # of a program where it was built: "3.11"


class ArtifactOffer(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact that shall lie on the machine, too. The same offer again goes on where the last one ended."""

    service: str
    artifact: Artifact  # as it lies where it was built
    tree: bytes = (
        b""  # everything that is in it (`pipeline.cache.tree`), as JSON compressed by zstd; of an image nothing
    )
    image_name: str = ""  # under which a registry has its image
    needs: tuple[Need, ...] = ()
    max_age_s: float = CacheSpec().max_age_s  # what of the machine's artifacts no release needs goes after so long
    max_bytes: int = CacheSpec().max_bytes  # or beyond so much in all
    author: Author = Author()
    key: str = ""


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A long content of which a part has arrived."""

    stored_bytes: int  # of the whole, compressed
    there_bytes: int


class ArtifactView(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an offer: the artifact as it lies on the machine, or what is missing for that."""

    artifact: Artifact | None = None
    missing: tuple[str, ...] = ()  # SHA-256 of contents
    begun: Mapping[str, Begun] = {}  # of these
    warnings: tuple[str, ...] = ()  # sentences, what a person should know although it was taken


class ContentsView(msgspec.Struct, frozen=True, kw_only=True):
    """What became of contents that were sent."""

    kept: int = 0  # whole ones
    begun: Mapping[str, Begun] = {}


class SweepRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Artifacts that no release needs shall go, by limits as in `ArtifactOffer`."""

    max_age_s: float = CacheSpec().max_age_s
    max_bytes: int = CacheSpec().max_bytes
    plan: bool = False  # nothing is removed
    author: Author = Author()
    key: str = ""


class StoresRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Stores that shall be run on the machine."""

    stores: tuple[Store, ...]
    author: Author = Author()
    key: str = ""


class StoresView(msgspec.Struct, frozen=True, kw_only=True):
    """What would be run for each, or why it cannot be had there."""

    drafts: Mapping[str, Draft] = {}
    refused: Mapping[str, ErrorView] = {}
