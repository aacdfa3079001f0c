"""A remote cache in S3, or in whatever speaks like it. The only module that imports obstore (the extra `s3`).

Credentials are the library's business: AWS_* variables, a web identity (as GitHub and GitLab give to their jobs), the
roles of containers and machines. None of them is read here, but to keep them out of messages.
"""

import os
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING

import obstore
from obstore import exceptions
from obstore.store import S3Store

from atoll.model.cache import Remote
from atoll.pipeline.cache.far import CHUNK_BYTES, FETCH_S, STALL_S, Trouble

if TYPE_CHECKING:
    from obstore.store import S3Config

_CONNECT_S = 5.0
_RETRIES = 2  # of what the network lost; a bucket that is down is left alone soon
_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")
_PART_BYTES = 8 << 20  # of a large upload


class S3:
    """A bucket, or a part of one."""

    def __init__(self, remote: Remote) -> None:
        self.text = remote.text
        bucket, _, prefix = remote.path.partition("/")
        config: S3Config = {"virtual_hosted_style_request": False} if remote.endpoint else {}
        if remote.region:
            config["region"] = remote.region
        if remote.endpoint:
            config["endpoint"] = remote.endpoint
        self._store = S3Store(
            bucket,
            prefix=prefix or None,
            config=config,
            client_options={
                "connect_timeout": timedelta(seconds=_CONNECT_S),
                "read_timeout": timedelta(seconds=STALL_S),
                "timeout": timedelta(seconds=FETCH_S),
                "allow_http": remote.endpoint.startswith("http://"),
            },
            retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=STALL_S)},
        )

    def fetch(self, name: str, to: IO[bytes], beat: Callable[[], None]) -> bool:
        """See `Far`."""
        try:
            for chunk in obstore.get(self._store, name).stream(min_chunk_size=CHUNK_BYTES):
                to.write(chunk)
                beat()
        except FileNotFoundError:
            return False
        except exceptions.BaseError as exc:
            raise _said(exc) from exc
        return True

    def send(self, name: str, file: Path, beat: Callable[[], None]) -> None:
        """See `Far`. An object appears when its last part has arrived."""
        try:
            obstore.put(self._store, name, file, chunk_size=_PART_BYTES, max_concurrency=4)
            beat()
        except FileNotFoundError as exc:
            raise Trouble("there is no such bucket") from exc
        except exceptions.BaseError as exc:
            raise _said(exc) from exc


def _said(exc: Exception) -> Trouble:
    """What the library says, less the request that it describes; and less what it may have taken from the environment."""
    text = " ".join(str(exc).split())
    status, code = re.search(r"status code: (\d+[\w ]*)", text), re.search(r"<Code>(\w+)</Code>", text)
    if status is not None:
        said = f"it answers {status[1].strip()}{f' ({code[1]})' if code else ''}"
    else:
        said = (text.partition("HTTP error: ")[2] or text).partition(" Debug source:")[0]
    for name in _SECRETS:
        if secret := os.environ.get(name):
            said = said.replace(secret, "***")
    return Trouble(
        said[:300], closed=isinstance(exc, (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError))
    )
