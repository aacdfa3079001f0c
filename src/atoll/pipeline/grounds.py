"""Which grounds a workspace's files lie on: where ignore rules begin, and what that depends on.

Called by `keys`, only where it is not remembered. A ground is what `tree` walks under the same rules.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from atoll.pipeline.ignore import NEVER, Ignore, above, top_of
from atoll.pipeline.tree import Base


def ground_of(base: Base, rules: dict[tuple[str, str], Ignore]) -> tuple[str, str]:
    """The top of the ground that a folder belongs to, and the root that says where its rules begin.

    One that is ignored, is reached by a link, or lies within what is never entered is a ground of its own: whoever walks
    past it does not see it. `rules` are kept from one call to the next.
    """
    folder, root = base
    top = os.fspath(top_of(Path(folder), Path(root)))
    place = top
    if (top, top) not in rules:
        rules[top, top] = above(Path(top), Path(root))
    for part in Path(folder).relative_to(top).parts:
        inner = os.path.join(place, part)
        if part in NEVER or os.path.islink(inner) or rules[top, place].ignores(inner, folder=True):
            return base
        if (top, inner) not in rules:
            rules[top, inner] = rules[top, place].within(inner)
        place = inner
    return top, top if os.path.exists(f"{top}/.git") else root


def ways(bases: Iterable[Base]) -> tuple[dict[str, bool], set[str]]:
    """What `ground_of` depends on: each path at which a `.git` counts, with whether there is one, and .gitignore files."""
    gits: dict[str, bool] = {}
    ignores: set[str] = set()
    for base in bases:
        place = base[0]
        while (git := f"{place.rstrip('/')}/.git") not in gits:
            gits[git] = os.path.exists(git)
            if gits[git] or place == "/":
                break
            place = os.path.dirname(place)
            ignores.add(f"{place.rstrip('/')}/.gitignore")
    return gits, ignores
