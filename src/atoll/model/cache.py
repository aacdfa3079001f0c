"""What atoll.toml says of the cache, where a remote one lies, and what is seen of it.

Read by `workspace` and by `pipeline.cache`; shown by `atoll cache`.
"""

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

OFF = "off"  # what ATOLL_CACHE says for no remote cache
_S3 = re.compile(
    r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?P<prefix>(?:/[A-Za-z0-9!_.*'()-]+)*)/?(?:\?(?P<query>.*))?"
)
_SETTING = re.compile(r"(?P<name>endpoint|region)=(?P<value>[A-Za-z0-9:/._\[\]-]+)")


class Remote(msgspec.Struct, frozen=True, kw_only=True):
    """A cache that machines share. It holds no credentials, so it can be shown."""

    kind: Literal["directory", "s3"]
    path: str  # of a directory, perhaps relative to the workspace or from `~` on; else bucket/prefix
    endpoint: str = ""  # of a server that speaks S3 and is not Amazon's
    region: str = ""

    @property
    def text(self) -> str:
        """As a person would write it."""
        if self.kind == "directory":
            return self.path
        query = "&".join(f"{name}={value}" for name in ("endpoint", "region") if (value := getattr(self, name)))
        return f"s3://{self.path}{'?' if query else ''}{query}"


class CacheSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`[cache]`."""

    remote: Remote | None = None
    max_bytes: int = 10 << 30  # compressed, without what several results share: months of a dozen services
    max_age_s: float = 30 * 86_400.0  # unused for so long, a branch's results are of a branch that was left


def remote(text: str) -> Remote:
    """Where a remote cache lies: `s3://bucket/prefix`, `file:///mnt/cache`, or a path.

    Raises ValueError with what is wrong, a predicate that shows nothing of the text: it may hold a password.
    """
    if re.match(r"[a-z][a-z0-9+.-]*://[^/?]*@", text, re.IGNORECASE):
        raise ValueError("must hold neither user nor password: S3 finds its credentials in the environment")
    if text.startswith("s3:"):
        if (found := _S3.fullmatch(text)) is None:
            raise ValueError(
                'must name a bucket (3 to 63 lower-case letters, digits, dots, hyphens): "s3://bucket/prefix"'
            )
        settings = {}
        for part in filter(None, (found["query"] or "").split("&")):
            if (setting := _SETTING.fullmatch(part)) is None:
                raise ValueError('knows `endpoint` and `region` only, such as "s3://bucket?region=eu-central-1"')
            settings[setting["name"]] = setting["value"]
        return Remote(kind="s3", path=found["bucket"] + found["prefix"], **settings)
    path = text.removeprefix("file://")
    if not path.strip() or "\0" in path or re.match(r"[a-z][a-z0-9+.-]*://", path, re.IGNORECASE):
        raise ValueError("must be a directory, or s3://bucket/prefix")
    if path != text and not path.startswith("/"):
        raise ValueError("must be an absolute path after file://, such as file:///mnt/cache")
    return Remote(kind="directory", path=path)


class CacheView(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the cache of this machine, and what it was good for in the last 30 days."""

    folder: str
    namespace: str  # under which a run here would write
    remote: str  # the address of the remote cache; "" without one
    results: int
    by_namespace: Mapping[str, int]  # namespace -> results
    contents: int  # files, equal ones counted once
    stored_bytes: int  # of contents, compressed
    size_bytes: int  # of all results, as they would lie in folders
    max_bytes: int
    max_age_s: float
    oldest_use: float  # seconds since the epoch; 0 without results
    hits: int  # results that were found here or in the remote, and not made
    remote_hits: int  # of these, those from the remote
    misses: int
    saved_s: float  # that it had taken to make what was found


class ArtifactsSwept(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection of artifacts removed on an environment's machine, or would remove."""

    removed: int = 0
    freed_bytes: int = 0
    left_bytes: int = 0


class CacheSwept(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection removed, or would remove."""

    plan: bool = False  # nothing was removed because that was asked for
    removed: int = 0  # results
    freed_bytes: int = 0
    results: int = 0  # that are left
    stored_bytes: int = 0  # that they take
    artifacts: int = 0  # results in folders, as they run, that were removed: no release needs them
    artifacts_freed_bytes: int = 0
    there: ArtifactsSwept | None = None  # on the environment's machine, where that is another one


class CacheChecked(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found."""

    plan: bool = False  # what is damaged was left where it is because that was asked for
    results: int = 0  # that are sound
    contents: int = 0  # that are sound
    damaged: tuple[str, ...] = ()  # a sentence for each result and each content
