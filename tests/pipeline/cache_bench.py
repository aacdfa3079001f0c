"""A cache on a bench, for the tests of what it keeps, of its upkeep, and of what breaks it."""

import os
import threading
from pathlib import Path

from atoll.model.cache import CacheSpec, CacheView
from atoll.pipeline.artifacts import seal
from atoll.pipeline.cache import upkeep
from atoll.pipeline.cache.cache import Cache, Restored
from atoll.pipeline.namespace import TRUSTED

KEY = "a" * 40


OTHER = "b" * 40


class Bench:
    """A folder with a cache and sealed trees in it."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / "cache"
        self.told: list[str] = []
        self._count = 0

    def cache(self, namespace: str = TRUSTED) -> Cache:
        return Cache(self.folder, namespace, self.told.append)

    def sealed(self, files: dict[str, bytes], links: dict[str, str] | None = None) -> tuple[Path, str]:
        self._count += 1
        tree = self.root / f"tree-{self._count}"
        tree.mkdir()
        for name, data in files.items():
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(0o755 if name.endswith(".sh") else 0o644)
            os.utime(path, ns=(10**18 + self._count, 10**18 + self._count))
        for name, target in (links or {}).items():
            (tree / name).symlink_to(target)
        return tree, seal(tree, lambda _: True, threading.Event())[0]

    def put(self, key: str, tree: Path, digest: str, namespace: str = TRUSTED, anywhere: bool = True) -> None:
        cache = self.cache(namespace)
        cache.put(key, tree, b"record of " + key.encode(), digest=digest, anywhere=anywhere, seconds=7.0)
        cache.close()

    def get(
        self, key: str, namespace: str = TRUSTED, to: Path | None = None, anywhere: bool = True
    ) -> tuple[Restored | None, Path]:
        self._count += 1
        to = to or self.root / f"back-{self._count}"
        cache = self.cache(namespace)
        restored = cache.get(key, to, anywhere=anywhere, stop=threading.Event())
        cache.close()
        return restored, to

    def stats(self) -> CacheView:
        return upkeep.stats(self.folder, CacheSpec(), TRUSTED)

    def contents(self) -> list[Path]:
        return sorted((self.folder / "v1/contents").rglob("*.zst"))


def same(one: Path, other: Path) -> bool:
    """Whether two trees have the same paths, modes, contents, links and times of files."""

    def of(tree: Path) -> dict[str, object]:
        found: dict[str, object] = {}
        for path in [tree, *tree.rglob("*")]:
            status = path.lstat()
            if path.is_symlink():
                found[os.fspath(path.relative_to(tree))] = path.readlink()
            else:
                content = (path.read_bytes(), status.st_mtime_ns) if path.is_file() else None
                found[os.fspath(path.relative_to(tree))] = (status.st_mode, content)
        return found

    return of(one) == of(other)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])
