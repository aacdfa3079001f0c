"""pnpm-lock.yaml (version 9), walked from importer to importer, and cut to what was reached, each part as it stands."""

import posixpath
import re
from collections.abc import Collection, Iterator

from atoll.builders.node.members import loaded
from atoll.builders.workspaces import Context, Reached, Unclear, table

LOCK, MEMBERS = "pnpm-lock.yaml", "pnpm-workspace.yaml"
_KINDS = ("dependencies", "devDependencies", "optionalDependencies")
_LISTED = re.compile(r"(?m)^packages:[ \t]*\n(?:[ \t]+.*\n|-.*\n|#.*\n|\n)*")
_CUT = ("importers", "packages", "snapshots")


def pnpm(context: Context, member: str, sources: tuple[str, ...]) -> tuple[Reached, dict[str, str]]:
    """What a member reaches, and the files that are cut to it. Raises Unclear."""
    lock = PnpmLock(context.text(LOCK))
    members = context.text(MEMBERS)
    reached = Reached(context, "package.json", lock.needs, sources)
    for folder, why in [*lock.needs("."), (member, "the service")]:
        reached.start(folder, why)
    listed = "".join(f"  - {folder}\n" for folder in sorted(reached.members))
    cut, found = re.subn(_LISTED, f"packages:\n{listed}\n", members.rstrip("\n") + "\n")
    if found != 1:
        raise Unclear(f"{MEMBERS} lists no packages, or not line by line")
    return reached, {LOCK: lock.only(), MEMBERS: cut.rstrip("\n") + "\n"}


class PnpmLock:
    """The lock of a workspace, and what of it was reached so far."""

    def __init__(self, text: str) -> None:
        self.text, self.content = text, loaded(LOCK, text)
        version = str(self.content.get("lockfileVersion"))
        if version != "9.0":
            raise Unclear(f"{LOCK} has the version {version}, and 9.0 is the one that is cut")
        if "patchedDependencies" in self.content:
            raise Unclear(f"{LOCK} patches packages")
        self.importers = table(self.content.get("importers"))
        self.snapshots = table(self.content.get("snapshots"))
        self.kept: dict[str, set[str]] = {kind: set() for kind in _CUT}

    def needs(self, member: str) -> Iterator[tuple[str, str]]:
        """The members that one needs, itself or through packages; all of these are kept."""
        if member not in self.importers:
            raise Unclear(f"{LOCK} does not know {member}: run `pnpm install`")
        self.kept["importers"].add(member)
        importer = self.importers[member]
        wanted = [
            (name, each["version"], member) for kind in _KINDS for name, each in table(importer.get(kind)).items()
        ]
        while wanted:
            name, version, base = wanted.pop()
            if version.startswith("link:"):
                yield posixpath.normpath(posixpath.join(base, version[5:])), f"{member}/package.json needs {name}"
                continue
            key = f"{name}@{version}" if f"{name}@{version}" in self.snapshots else version
            if key not in self.snapshots or "file:" in version:
                raise Unclear(f"{LOCK} has {name} {version}, which is no package of a registry")
            if key not in self.kept["snapshots"]:
                self.kept["snapshots"].add(key)
                self.kept["packages"].add(key.partition("(")[0])
                entry = self.snapshots[key]
                wanted += [(name, each, ".") for kind in _KINDS for name, each in table(entry.get(kind)).items()]

    def only(self) -> str:
        """The lock with what was reached."""
        parts = re.split(r"(?m)^(?=\w+:)", self.text)
        return "".join(self._section(part, part.partition(":")[0]) for part in parts)

    def _section(self, text: str, name: str) -> str:
        if name not in _CUT:
            return text
        head, *blocks = re.split(r"(?m)^(?=  [^ #\n])", text)
        keys: Collection[str] = table(self.content.get(name))
        if len(keys) != len(blocks):
            raise Unclear(f"{LOCK} is not written as pnpm does")
        kept = [block for key, block in zip(keys, blocks, strict=True) if key in self.kept[name]]
        return head + "".join(kept) if kept else ""
