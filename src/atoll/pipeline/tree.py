"""The files of a workspace as they are now, compared with how they were when somebody last looked.

Called by `keys`. The work tree itself is walked, never git's index: what a task gets are the bytes that lie there, so that
filters, submodules, shallow clones and the lack of git are right by construction (docs/adr/0023). Each folder is listed
and each file's stat compared, which takes 3 us a file; contents are read only of files that look different, and only when
somebody asks for them; .gitignore files only for names that are new, or after one of them changed. Its choice of files
is that of `inputs.select`, which a test holds it to.
"""

import os
import stat
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from atoll.pipeline.ignore import NEVER, Ignore, above
from atoll.pipeline.scouts import Scouts, scouts_for

if TYPE_CHECKING:
    from atoll.pipeline.inputs import Kind

# A folder as it was last listed; of plain types, since marshal knows no others: names of files and, five numbers each, their
# stats; names of the folders that were entered; names that are ignored, folders' with a slash; .gitignore's stat; the names
# that were looked for, where all of it was not asked for. Names are joined by NUL.
Listing = tuple[str, bytes, str, str, bytes, str | None]
# Of one ground: folder -> listing; folder -> the SHA-256 of its files, 32 bytes each, zeros where nobody asked.
Kept = tuple[dict[str, Listing], dict[str, bytes | bytearray]]

# A folder whose files go into tasks, and the folder where .gitignore files begin when there is no git; absolute.
Base = tuple[str, str]

NUL = "\0"
_NUMBERS = 5  # of a file: mode, size, mtime, ctime, inode
_FILE_BYTES = 8 * _NUMBERS
_HASH_BYTES = 32
_UNKNOWN = bytes(_HASH_BYTES)
_SIGN = (1 << 63) - 1
_RACY = b"racy"  # a .gitignore that may change again and look the same


class Ground:
    """What is walked under the same ignore rules: a repository, or a folder for which the rules begin anew.

    Args:
        top: where the rules begin.
        root: the workspace's folder, or the service's root (see `ignore.above`).
        artifacts: the artifacts folder, which is never entered.
        kept: what was found the last time.
        settled_ns: what was changed since (nanoseconds since the epoch) may change again and look the same.
    """

    def __init__(self, top: str, root: Path, artifacts: str, kept: Kept, settled_ns: int) -> None:
        self.top = top.rstrip("/")
        self.closed: dict[str, OSError] = {}  # folders that could not be listed
        self.edited: set[str] = set()  # absolute paths of files that look different
        self.named: set[str] = set()  # of those that are new, gone, or of another kind
        self._root, self._settled_ns = root, settled_ns
        self._artifacts = _parted(artifacts)
        self._old, self._old_contents = kept
        self._now: dict[str, Listing] = {}
        self._contents: dict[str, bytes | bytearray] = {}
        self._rules: dict[str, Ignore] = {}
        self._places: dict[str, dict[str, int]] = {}  # of files within their listings, where somebody asked
        self.ahead: dict[str, Listing | None] = {}  # folder -> what `look_again` said before anybody walked

    @property
    def remembered(self) -> Iterable[str]:
        """The folders that were there the last time."""
        return self._old

    @property
    def kept(self) -> Kept:
        """What to remember for the next time."""
        return self._now, self._contents

    def look_again(self, folder: str) -> Listing | None:
        """At a folder that was there the last time: as it is now, or None when that is the same. Raises OSError."""
        before = self._old[folder]
        listing = self._listing(folder, before[5], _split(before[3]))
        return None if listing == before else listing

    def stands(self) -> bool:
        """Take over what is `ahead`, asked for as the last time. False where that does not do, and it must be walked.

        It does while all folders are those of the last time, and so are the rules; files may come and go.
        """
        old = self._old
        entered = sum(listing[2].count(NUL) + 1 for listing in old.values() if listing[2])
        if not old or len(old) <= entered or len(self.ahead) < len(old):  # one was closed to us, or is now
            return False
        changed = {folder: listing for folder, listing in self.ahead.items() if listing is not None}
        if any(listing[2] != old[folder][2] or listing[4] != old[folder][4] for folder, listing in changed.items()):
            return False
        self._now, self._contents = old.copy(), self._old_contents.copy()
        for folder, listing in changed.items():
            self._now[folder] = self._sift(folder, listing, old[folder], trusting=True)
        return True

    def walk(self, reach: Iterable[str]) -> None:
        """Look at all that lies at or below the paths of `reach`, which lie in `top`."""
        whole, ways = set(reach), dict[str, set[str]]()
        for path in whole:
            while path != self.top:
                above_it, name = _parted(path)
                names = ways.setdefault(above_it, set())
                if name in names:
                    break
                names.add(name)
                path = above_it
        wanted = {folder: NUL.join(sorted(names)) for folder, names in ways.items()}
        if not self._walk(whole, wanted, trusting=True):
            self._walk(whole, wanted, trusting=False)
        for gone in self._old.keys() - self._now.keys():
            self.named.update(f"{gone}/{name}" for name in _split(self._old[gone][0]))

    def _walk(self, whole: set[str], wanted: Mapping[str, str], *, trusting: bool) -> bool:
        """Walk once. Trusting: what was ignored or not still is, and what is `ahead` is so.

        Returns False as soon as a .gitignore says otherwise: then every name is to be looked at anew.
        """
        self._now, self._contents, self.closed = {}, {}, {}
        self.edited, self.named = set(), set()
        old, now = self._old, self._now
        todo = [(self.top, self.top in whole)]
        while todo:
            folder, all_of_it = todo.pop()
            before = old.get(folder)
            names = None if all_of_it else wanted[folder]
            try:
                if trusting and before is not None and before[5] == names and folder in self.ahead:
                    listing = self.ahead[folder] or before
                else:
                    listing = self._listing(folder, names, _split(before[3]) if before and trusting else ())
            except (FileNotFoundError, NotADirectoryError):
                continue  # it vanished; or the service's folder was never there
            except OSError as exc:
                self.closed[folder] = exc
                continue
            if trusting and before is not None and listing == before:
                self._contents[folder] = self._old_contents[folder]
            else:
                if trusting and before and before[4] != listing[4]:
                    return False
                listing = self._sift(folder, listing, before, trusting=trusting)
            now[folder] = listing
            if listing[2]:
                for name in listing[2].split(NUL):
                    path = f"{folder}/{name}"
                    todo.append((path, all_of_it or path in whole))
        return True

    def _listing(self, folder: str, wanted: str | None, skipped: tuple[str, ...]) -> Listing:
        """A folder's, less what was ignored before; only what is wanted of it, if that is not None. Raises OSError."""
        return self._list(folder, skipped) if wanted is None else self._look_for(folder, wanted, skipped)

    def _list(self, folder: str, skipped: tuple[str, ...]) -> Listing:
        """The whole folder, less what was ignored before: the inner loop of it all."""
        names: list[str] = []
        folders: list[str] = []
        numbers: list[int] = []
        still: list[str] = []
        ignored = set(skipped)
        rules = b""
        at = os.open(folder or "/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:  # each name is found from here: an eighth of the time less than by whole paths
            with os.scandir(at) as items:
                for item in items:
                    name = item.name
                    if name in NEVER:
                        continue
                    if name == ".gitignore":
                        rules = self._rules_stamp(f"{folder}/{name}")
                    if item.is_dir(follow_symlinks=False):
                        if f"{name}/" in ignored:
                            still.append(f"{name}/")
                        elif (folder, name) != self._artifacts:
                            folders.append(name)
                    elif name in ignored:
                        still.append(name)
                    else:
                        try:
                            found = item.stat(follow_symlinks=False)
                        except FileNotFoundError:
                            continue
                        names.append(name)
                        numbers += (found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        finally:
            os.close(at)
        return NUL.join(names), _packed(numbers), NUL.join(folders), NUL.join(still), rules, None

    def _look_for(self, folder: str, wanted: str, skipped: tuple[str, ...]) -> Listing:
        """Those of the wanted names that are there: a folder on the way to where inputs lie may be a large one."""
        names: list[str] = []
        folders: list[str] = []
        numbers: list[int] = []
        for name in _split(wanted):
            try:
                found = os.lstat(f"{folder}/{name}")
            except (FileNotFoundError, NotADirectoryError):
                continue
            if name in NEVER:
                continue
            if stat.S_ISDIR(found.st_mode):
                if f"{name}/" not in skipped and (folder, name) != self._artifacts:
                    folders.append(name)
            elif name not in skipped:
                names.append(name)
                numbers += (found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        rules = self._rules_stamp(f"{folder}/.gitignore")
        return NUL.join(names), _packed(numbers), NUL.join(folders), NUL.join(skipped), rules, wanted

    def _rules_stamp(self, path: str) -> bytes:
        try:
            found = os.stat(path)
        except OSError:
            return b""
        if max(found.st_mtime_ns, found.st_ctime_ns) >= self._settled_ns:
            return _RACY + os.urandom(8)  # equal to nothing
        return _packed([found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino])

    def _sift(self, folder: str, listing: Listing, before: Listing | None, *, trusting: bool) -> Listing:
        """A listing that is not as before, less what is ignored; notes what changed, and keeps the hashes of what did not."""
        names, numbers, folders, skipped, rules, wanted = listing
        known = set(_split(before[2])) if before else set[str]()
        looked = {} if before is None else _files(before)
        hashes = self._old_contents.get(folder, b"")
        ignored = list(_split(skipped))
        kept_names, kept_numbers, kept_hashes = [], [], []
        for name, mine in zip(_split(names), _pieces(numbers, _FILE_BYTES), strict=True):
            at, earlier = looked.get(name, (-1, b""))
            if not (trusting and at >= 0) and self._ignores(folder, name, is_folder=False):
                ignored.append(name)
                continue
            looked.pop(name, None)
            same = mine == earlier
            kept_names.append(name)
            kept_numbers.append(mine if same or self._is_settled(mine) else _unsettled(mine))
            kept_hashes.append(hashes[at * _HASH_BYTES : (at + 1) * _HASH_BYTES] if same else _UNKNOWN)
            if not same:
                (self.edited if mine[:8] == earlier[:8] else self.named).add(f"{folder}/{name}")
        self.named.update(f"{folder}/{name}" for name in looked)
        entered = []
        for name in _split(folders):
            if not (trusting and name in known) and self._ignores(folder, name, is_folder=True):
                ignored.append(f"{name}/")
            else:
                entered.append(name)
        self._contents[folder] = b"".join(kept_hashes)
        return NUL.join(kept_names), b"".join(kept_numbers), NUL.join(entered), NUL.join(ignored), rules, wanted

    def _is_settled(self, numbers: bytes) -> bool:
        _, _, mtime_ns, ctime_ns, _ = array("q", numbers)
        return max(mtime_ns, ctime_ns) < self._settled_ns

    def _ignores(self, folder: str, name: str, *, is_folder: bool) -> bool:
        return self._rules_in(folder).ignores(f"{folder}/{name}", folder=is_folder)

    def _rules_in(self, folder: str) -> Ignore:
        """The rules in force in a folder; files are read only for those that are asked for."""
        if folder not in self._rules:
            if folder == self.top:
                rules = above(Path(folder or "/"), self._root)
            else:
                rules = self._rules_in(_parted(folder)[0]).within(folder)
            self._rules[folder] = rules
        return self._rules[folder]

    # --- asking -------------------------------------------------------------------------------------------------

    def files(self, path: str) -> Iterator[tuple[str, int]]:
        """The files at or below an absolute path, each with its mode. Raises OSError for a folder that is closed to us."""
        todo = [path]
        folder, name = _parted(path)
        if (listing := self._now.get(folder)) and (found := _files(listing).get(name)):
            yield path, array("q", found[1])[0]
        while todo:
            folder = todo.pop()
            if folder in self.closed:
                raise self.closed[folder]
            if (listing := self._now.get(folder)) is None:
                continue
            modes = array("q", listing[1])[::_NUMBERS]
            for name, mode in zip(_split(listing[0]), modes, strict=True):
                yield f"{folder}/{name}", mode
            todo += (f"{folder}/{name}" for name in _split(listing[2]))

    def content(self, path: str, kind: "Kind", stop: threading.Event) -> str | None:
        """The SHA-256 of a file, or a link's target; None when it is gone by now. Raises UserError like `inputs`."""
        if kind == "link":
            try:
                return os.readlink(path)
            except OSError:
                return None
        folder, name = _parted(path)
        if folder not in self._places:
            self._places[folder] = {each: at for at, each in enumerate(_split(self._now[folder][0]))}
        at = self._places[folder][name] * _HASH_BYTES
        hashes = self._contents[folder]
        if (known := hashes[at : at + _HASH_BYTES]) != _UNKNOWN:
            return known.hex()
        from atoll.pipeline.inputs import read_content  # where nothing changed nothing is read

        if (content := read_content(Path(path), stop)) is None:
            return None
        if not isinstance(hashes, bytearray):
            hashes = self._contents[folder] = bytearray(hashes)
        hashes[at : at + _HASH_BYTES] = bytes.fromhex(content)
        return content


class Advance:
    """Looks again at all that was remembered of some grounds, in several processes, while the caller does something else.

    Whoever makes one must `end` it.
    """

    def __init__(self, grounds: Iterable[Ground]) -> None:
        self._known = [(ground, folder) for ground in grounds for folder in ground.remembered]
        self._scouts = Scouts(len(self._known), self._look, scouts_for(len(self._known)))

    def report(self, stirred: Callable[[], None]) -> None:
        """Help them, and tell each ground what is `ahead` of it. `stirred` is called when something was found to have changed
        while others still look, and there is time for more.
        """
        for at, listing in self._scouts.report(stirred).items():
            ground, folder = self._known[at]
            ground.ahead[folder] = listing

    def end(self) -> None:
        """End them without a report. After one it does nothing."""
        self._scouts.end()

    def _look(self, at: int) -> Listing | None:
        ground, folder = self._known[at]
        return ground.look_again(folder)


def _parted(path: str) -> tuple[str, str]:
    """Folder and name; the folder of all is ""."""
    folder, _, name = path.rpartition("/")
    return folder, name


def _split(names: str) -> tuple[str, ...]:
    return tuple(names.split(NUL)) if names else ()


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def _files(listing: Listing) -> dict[str, tuple[int, bytes]]:
    """Name -> its place in the listing, and its numbers."""
    pieces = _pieces(listing[1], _FILE_BYTES)
    return {name: (at, pieces[at]) for at, name in enumerate(_split(listing[0]))}


def _packed(numbers: list[int]) -> bytes:
    try:
        return array("q", numbers).tobytes()
    except OverflowError:  # inodes of some file systems use all 64 bits
        return array("q", [number & _SIGN for number in numbers]).tobytes()


def _unsettled(numbers: bytes) -> bytes:
    """The stat of a file that may change again and look the same: its mode, and nothing that anything equals."""
    return numbers[:8] + bytes(_FILE_BYTES - 8)
