"""The fields of `[cache]` in atoll.toml. See `fields_workspace`."""

from atoll.model.cache import CacheSpec, Remote, remote
from atoll.workspace.kinds import Duration, Either, Mapped, Refused, Size, Text, wrong
from atoll.workspace.tables import Field, Table

_DAY_S = 86_400.0
_SUCH = 'such as "s3://acme-builds/shop" or "/mnt/cache"'


def _remote(text: str) -> Remote:
    """The message leaves the text out: it may hold a password."""
    try:
        return remote(text)
    except ValueError as exc:
        raise wrong(str(exc), _SUCH) from None


class _Address(Mapped):
    """Where a remote cache lies."""

    def show(self, value: Remote) -> str:
        return f'"{value.text}"'


REMOTE = _Address(Text("address"), _remote, says="`s3://bucket/prefix`, or a directory")
CACHE_TABLE = Table(
    "[cache]",
    (
        Field(
            "remote",
            REMOTE,
            "The cache that machines share: an S3 bucket (`s3://bucket/prefix`, with `?region=` and for other servers than"
            " Amazon's `?endpoint=` behind it) or a directory. `ATOLL_CACHE` counts before it. Credentials are the"
            " environment's.",
            ('"s3://acme-builds/shop"', '"s3://builds?endpoint=https://minio:9000"', '"/mnt/cache"'),
            default="none",
        ),
        Field(
            "max_size",
            Size(1 << 20),
            "Room that it may take on this machine; what was not used for longest goes first.",
            ('"20GiB"',),
            into="max_bytes",
        ),
        Field(
            "max_age",
            Duration(3600.0, 366 * _DAY_S),
            "What was not used for so long goes.",
            ('"168h"',),
            into="max_age_s",
        ),
    ),
    CacheSpec,
    spec=CacheSpec,
    hints={
        "url": "it is called `remote`",
        "bucket": 'it is part of `remote`: "s3://bucket/prefix"',
        "endpoint": 'it is part of `remote`: "s3://bucket?endpoint=https://minio:9000"',
        "region": 'it is part of `remote`: "s3://bucket?region=eu-central-1"',
        "key": "credentials stand in the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role",
        "size": "it is called `max_size`",
        "age": "it is called `max_age`",
        "ttl": "it is called `max_age`",
    },
)
CACHE = Either(
    text=Mapped(REMOTE, lambda remote: CacheSpec(remote=remote), says="a remote cache's address"),
    table=CACHE_TABLE,
    flag=Refused("must be a remote cache's address, or a table", lambda _: _SUCH),
    fix=_SUCH,
)
