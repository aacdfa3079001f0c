"""The folders that a launch may write to: made, and given to its user, before it starts. Called by a shim.

Root does it with names that it was told and among files that services own. So no link is followed out of a folder that
anybody else may have put it in; and where a machine serves (`isolated`), whoever names a folder is not who administers
the machine: nothing is given away then that is root's and used, or another's.
"""

import errno
import os
import stat
from contextlib import suppress

from atoll.keeper.wire import Message

OWN_UIDS = range(61000, 65000)  # the users that `engines.process` gives to services
SYSTEM_FOLDERS = frozenset({  # never given away; S108 sees temporary files in them
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/mnt", "/opt", "/proc", "/root", "/run", "/sbin",
    "/srv", "/sys", "/tmp", "/usr", "/usr/local", "/var", "/var/cache", "/var/lib", "/var/log", "/var/run", "/var/tmp",  # noqa: S108
})  # fmt: skip
_SYSTEM_TREES = frozenset({  # nor anything in them, where a machine serves: as `decide.validate` says to who writes the file
    "bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "root", "run", "sbin", "sys", "usr",
})  # fmt: skip
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40  # as the kernel's own limit
_ALL_MAY_LOOK = 0o005


def paths(launch: Message) -> list[str]:
    """The launch's writable paths, absolute."""
    return [os.path.normpath(os.path.join(launch["folder"], path)) for path in launch.get("writable", ())]


def provide(launch: Message, data: str) -> None:
    """Make them, and give them to the launch's user when they are not its own yet. `data` is the folder of all services' data.

    What cannot be had, or is not given, stays as it is: whether its user can write there is judged by the kernel, later.
    """
    uid = launch.get("uid") if os.geteuid() == 0 else None
    own = os.path.join(data, str(launch.get("service")))
    for path in paths(launch):
        with suppress(OSError):
            if uid is None:
                os.makedirs(path, 0o750, exist_ok=True)
                continue
            strict = bool(launch.get("isolated")) and path != own
            fd, made = _opened(path, uid, strict=strict)
            try:
                _give(fd, uid, made=made, strict=strict)
            finally:
                os.close(fd)


def _opened(path: str, uid: int, *, strict: bool) -> tuple[int, bool]:
    """The folder, and whether it was made just now. Raises OSError, also for a link that is not followed."""
    parts, links, made = _parts(path), 0, False
    fd = os.open("/", _FOLDER)
    try:
        while parts:
            part = parts.pop(0)
            try:
                below = os.open(part, _FOLDER, dir_fd=fd)
            except FileNotFoundError:
                if strict and not _may_be_made(fd, part, uid):
                    raise
                os.mkdir(part, 0o750, dir_fd=fd)
                below, made = os.open(part, _FOLDER, dir_fd=fd), True
                if parts:  # on the way to what is given: its user must come through
                    os.fchmod(below, 0o755)
            except OSError as exc:  # a link
                if (
                    exc.errno not in {errno.ENOTDIR, errno.ELOOP}
                    or _is_foreign(fd)
                    or (links := links + 1) > _MOST_LINKS
                ):
                    raise
                leads = os.readlink(part, dir_fd=fd)
                parts = [*_parts(leads), *parts]
                below = os.open("/" if leads.startswith("/") else ".", _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = below
    except BaseException:
        os.close(fd)
        raise
    return fd, made


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


def _is_foreign(fd: int) -> bool:
    """Whether others than root may put things there."""
    there = os.fstat(fd)
    return there.st_uid != 0 or bool(there.st_mode & 0o022)


def _may_be_made(fd: int, name: str, uid: int) -> bool:
    """Whether something new may lie there: in its own folder, or where all may look around, and that is not the system's."""
    above = os.fstat(fd)
    if above.st_uid == uid:
        return True
    return above.st_uid == 0 and _is_open(above) and not is_systems(f"{_place(fd)}/{name}")


def _give(fd: int, uid: int, *, made: bool, strict: bool) -> None:
    there = os.fstat(fd)
    if there.st_uid == uid or _place(fd) in SYSTEM_FOLDERS:
        return
    if made:
        os.chown(fd, uid, uid)
    elif strict:
        if there.st_uid == 0 and _is_open(there) and not is_systems(_place(fd)) and not os.listdir(fd):
            os.chown(fd, uid, uid)
    elif there.st_uid == 0 or there.st_uid in OWN_UIDS:
        _give_tree(fd, uid)


def _give_tree(top: int, uid: int) -> None:
    """All that is in it. Links are not followed, hard links to others' files not changed."""
    for _folder, folders, files, fd in os.fwalk(".", dir_fd=top, follow_symlinks=False):
        for name in (*folders, *files):
            with suppress(OSError):
                info = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISDIR(info.st_mode) or info.st_nlink == 1:
                    os.chown(name, uid, uid, dir_fd=fd, follow_symlinks=False)
        with suppress(OSError):
            os.chown(fd, uid, uid)


def _place(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")


def _is_open(there: os.stat_result) -> bool:
    return there.st_mode & _ALL_MAY_LOOK == _ALL_MAY_LOOK


def is_systems(path: str) -> bool:
    """Whether an absolute path lies where only the system's own files do."""
    return next(iter(_parts(path)), "") in _SYSTEM_TREES
