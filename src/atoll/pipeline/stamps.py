"""Whether paths still are what they were when something was concluded from them: stamps of files and folders.

Called by `keys`. A stamp is read from the file system's own notes (stat), never from contents. One that was taken within
two seconds of a change is no proof: the path may change again and look the same (git calls such an entry racy).
"""

import os
import stat
import zlib
from collections.abc import Iterable, Mapping

RACY_NS = (
    2_000_000_000  # a file touched so shortly before it was looked at may change again with equal times (git's racy)
)

Stamp = tuple[int, ...]
UNSETTLED: Stamp = (-1,)  # equals no stamp
ABSENT: Stamp = ()


def stamps(paths: Iterable[str], settled_ns: int) -> dict[str, Stamp]:
    """The stamps of paths. With a slash at its end, a path stands for the folders in a folder, whatever else lies there.

    Args:
        paths: absolute.
        settled_ns: nanoseconds since the epoch, two seconds before the first look at any of them.
    """
    return {path: _settled(path, _stamp(path), settled_ns) for path in paths}


def changed(known: Mapping[str, Stamp]) -> list[str]:
    """The paths that do not look as they did."""
    found = []
    for path, before in known.items():
        if path[-1] == "/":
            status = _plain(path)
            if status != before[:2] and (status == ABSENT or _names(path) != before[2:]):
                found.append(path)
        elif _plain(path) != before:
            found.append(path)
    return found


def settled_before(now_ns: int) -> int:
    """What was changed later than this may change again and look the same."""
    return now_ns - RACY_NS


def _stamp(path: str) -> Stamp:
    found = _plain(path)
    return (*found, *_names(path)) if path[-1] == "/" and found else found


def _plain(path: str) -> Stamp:
    """Of a folder its inode and when its names changed; of a link also the link's own."""
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            return (*_of(os.stat(path)), found.st_ino, found.st_ctime_ns)
    except (OSError, ValueError):
        return ABSENT
    return _of(found)


def _of(found: os.stat_result) -> Stamp:
    if stat.S_ISDIR(found.st_mode):
        return (found.st_ino, found.st_mtime_ns)
    return (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_mode)


def _names(path: str) -> Stamp:
    """A digest of the names of folders in a folder; links to folders count."""
    try:
        with os.scandir(path) as items:
            names = sorted(item.name for item in items if not item.is_file(follow_symlinks=False))
    except OSError:
        return ABSENT
    return (zlib.crc32("\0".join(names).encode("utf-8", "surrogateescape")), len(names))


def _settled(path: str, found: Stamp, settled_ns: int) -> Stamp:
    if all(part < settled_ns for part in found[1:3]):
        return found
    return (*UNSETTLED, 0, *found[2:]) if path[-1] == "/" else UNSETTLED
