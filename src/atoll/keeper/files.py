"""A replica's rendered files: written below a folder of its own before it starts, removed when it has ended.

Called by a shim, which gets their content through its socket, and by the keeper for what killed shims left. Everything
here may hold secrets: folders are 0700, files 0600, both the replica's user's, in memory where the machine has room for
that.
"""

import os
import stat
import zlib
from contextlib import suppress

from atoll.keeper.places import Places
from atoll.keeper.wire import Message

SHARED_MEMORY = "/dev/shm"  # noqa: S108  a tmpfs on practically every Linux; the folder in it is checked


def bases(places: Places) -> list[str]:
    """Where replicas' folders may lie, best first.

    A service under a user of its own cannot reach the folder of sockets, so root's lie in shared memory; for others it
    is no place, since logind empties it of a person's files at the last logout.
    """
    if os.geteuid() != 0:
        return [f"{places.run_dir}/files"]
    name = f"atoll-{zlib.crc32(os.fsencode(places.state_dir)):08x}"
    return [f"{SHARED_MEMORY}/{name}", f"{places.state_dir}/files"]


def base(places: Places) -> str:
    """The first of `bases` that may be used: one that somebody else made in advance is passed over."""
    candidates = bases(places)
    return next((folder for folder in candidates if _usable(folder)), candidates[-1])


def _usable(folder: str) -> bool:
    try:
        there = os.lstat(folder)
    except FileNotFoundError:
        return os.path.isdir(os.path.dirname(folder))
    except OSError:
        return False
    return stat.S_ISDIR(there.st_mode) and there.st_uid == os.geteuid() and not there.st_mode & 0o022


def in_memory(folder: str) -> bool:
    """Whether what is written there stays off the disks: it lies on a tmpfs."""
    best, kind = "", ""
    with suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            mount = left.split()[4]
            inside = mount == "/" or folder == mount or folder.startswith(f"{mount}/")
            if inside and len(mount) >= len(best):
                best, kind = mount, right.split()[0]
    return kind in {"tmpfs", "ramfs"}


def check(launch: Message, places: Places) -> None:
    """Raises ValueError for a folder or a file that is not below the replica's own."""
    if not launch.get("files"):
        return
    folder = str(launch["files_folder"])
    if os.path.dirname(folder) not in bases(places) or os.path.basename(folder) != launch["id"]:
        raise ValueError(f"not a folder for the files of {launch['id']}: {folder!r}")
    for name in launch["files"]:
        if not _lies_below(name):
            raise ValueError(f"not a file below its folder: {name!r}")


def _lies_below(name: str) -> bool:
    return "\0" not in name and all(part not in {"", ".", ".."} for part in name.split("/"))


def write(launch: Message, uid: int | None) -> None:
    """Write them all, for `uid` alone. Raises OSError.

    That user gets them last: until then nobody else can put a link where one of them shall be.
    """
    files: dict[str, str] = launch.get("files") or {}
    if not files:
        return
    folder: str = launch["files_folder"]
    top = os.path.dirname(folder)
    if not _usable(top):
        raise PermissionError(1, "somebody else has this folder", top)
    if strays := [name for name in files if not _lies_below(name)]:
        raise PermissionError(1, "not a file below its folder", strays[0])
    with suppress(FileExistsError):
        os.mkdir(top, 0o711)
        os.chmod(top, 0o711)  # noqa: S103  whatever the umask: each replica's user must come through to its own
    remove(folder)  # of a start that was cut off
    folders = {folder: None}
    for name in files:
        *above, _ = name.split("/")
        folders |= dict.fromkeys("/".join((folder, *above[:depth])) for depth in range(1, len(above) + 1))
    for each in folders:
        os.mkdir(each, 0o700)
    for name, text in files.items():
        fd = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            if uid is not None:
                os.fchown(fd, uid, uid)
    if uid is not None:
        for each in reversed(folders):
            os.chown(each, uid, uid, follow_symlinks=False)


def remove(folder: str) -> None:
    """Remove a replica's folder with all that is in it; links in it are not followed. Its absence is fine."""
    with suppress(OSError):
        for _folder, folders, files, fd in os.fwalk(folder, topdown=False, follow_symlinks=False):
            for name in files:
                with suppress(OSError):
                    os.unlink(name, dir_fd=fd)
            for name in folders:
                with suppress(OSError):
                    try:
                        os.rmdir(name, dir_fd=fd)
                    except NotADirectoryError:  # a link to a folder
                        os.unlink(name, dir_fd=fd)
        os.rmdir(folder)


def forget(places: Places, name: str) -> None:
    """Remove the folder of the replica `name`, wherever it lies."""
    for folder in bases(places):
        remove(f"{folder}/{name}")


def sweep(places: Places, keep: set[str]) -> None:
    """Remove the folders of all but `keep`, and what holds them when it is empty."""
    for folder in bases(places):
        if not _usable(folder):
            continue
        with suppress(OSError):
            for name in set(os.listdir(folder)) - keep:
                remove(f"{folder}/{name}")
        with suppress(OSError):
            os.rmdir(folder)
