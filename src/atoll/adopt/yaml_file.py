"""YAML files as plain data: texts, lists, tables and nothing, whatever stands in them.

Every scalar stays the text that was written (`22:22` is no number of seconds, `on` no truth), as Compose reads it
where it matters. Every table knows where each of its fields was written, through anchors and merge keys too. Aliases
and merges are expanded up to a bound, so that a few lines cannot become a terabyte.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from atoll.adopt.found import Place
from atoll.adopt.tree import Tree
from atoll.model.errors import UserError

MAX_DEPTH = 40
MAX_NODES = 100_000
_MERGE = "tag:yaml.org,2002:merge"


class Fields(dict[str, Any]):
    """A table, and where each of its fields stands. `replaces`: it was tagged `!override`, so nothing is merged below it."""

    def __init__(
        self,
        fields: Mapping[str, Any] | None = None,
        places: Mapping[str, Place] | None = None,
        *,
        replaces: bool = False,
    ) -> None:
        super().__init__(fields or {})
        self.places: dict[str, Place] = dict(places or {})
        self.replaces = replaces

    def place(self, *path: str) -> Place:
        """Where a field stands, or the nearest table around it; its key is the whole `path`."""
        here, found = self, Place()
        for name in path:
            found = here.places.get(name, found)
            below = here.get(name)
            if not isinstance(below, Fields):
                break
            here = below
        return Place(file=found.file, line=found.line, key=".".join(path))


class Whole(list[Any]):
    """A list that was tagged `!override`: it takes the place of what it would be merged with."""


def load(tree: Tree, path: str) -> Fields:
    """The mapping of the YAML file at `path`. Raises UserError for anything else."""
    text = tree.whole(path)
    try:
        value = _parse(text, path)
    except (ValueError, TypeError, RecursionError) as exc:
        raise UserError(
            f"{path} cannot be read", " ".join(str(exc).split())[:300], "correct the file", id="file-not-understood"
        ) from exc
    if value is None:
        return Fields()
    if not isinstance(value, Fields):
        raise UserError(
            f"{path} cannot be read", "it is no mapping of fields", "correct the file", id="file-not-understood"
        )
    return value


def _parse(text: str, path: str) -> Any:
    import yaml

    try:
        value = yaml.load(text, Loader=_loader())  # noqa: S506  a SafeLoader that knows even less
    except yaml.YAMLError as exc:
        raise ValueError(str(exc)) from exc
    return _plain(value, path, MAX_DEPTH, [MAX_NODES])


class _Lines(dict[Any, Any]):
    """A mapping as it is read: the line of each field beside it."""

    lines: dict[str, int]
    replaces = False


@cache
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Resolves null and merge keys only. Of Compose's tags it knows `!reset` and `!override`."""

        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                    if key.value in seen:
                        raise yaml.composer.ComposerError(None, None, f"{key.value} is written twice", key.start_mark)
                    seen.add(key.value)
            return node

        def flatten_mapping(self, node: Any) -> None:
            """Of what is merged, the last of a name is what counts: the others would grow with every level."""
            super().flatten_mapping(node)
            last = {key.value if isinstance(key, yaml.ScalarNode) else id(key): (key, item) for key, item in node.value}
            node.value = list(last.values())

        def construct_fields(self, node: Any) -> Any:
            made = _Lines()
            made.lines = {}
            yield made
            made.update(self.construct_mapping(node))
            made.lines.update((str(key.value), key.start_mark.line + 1) for key, _ in node.value)

        def construct_tagged(self, tag: str, node: Any) -> Any:
            if tag == "reset":
                return None
            match node:
                case yaml.MappingNode():
                    made = _Lines(self.construct_mapping(node, deep=True))
                    made.lines = {str(key.value): key.start_mark.line + 1 for key, _ in node.value}
                    made.replaces = tag == "override"
                    return made
                case yaml.SequenceNode():
                    items = self.construct_sequence(node, deep=True)
                    return Whole(items) if tag == "override" else items
            return self.construct_scalar(node)

    kept = {"tag:yaml.org,2002:null", _MERGE}
    Loader.yaml_implicit_resolvers = {
        first: [pair for pair in pairs if pair[0] in kept]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_constructor("tag:yaml.org,2002:map", Loader.construct_fields)
    Loader.add_multi_constructor("!", Loader.construct_tagged)
    return Loader


def _plain(value: Any, path: str, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if depth < 0 or left[0] < 0:
        raise ValueError("it is nested too deeply, or its aliases make it too large")
    if isinstance(value, _Lines):
        places = {key: Place(file=path, line=line, key=key) for key, line in value.lines.items()}
        fields = {str(key): _plain(item, path, depth - 1, left) for key, item in value.items()}
        return Fields(fields, places, replaces=value.replaces)
    if isinstance(value, (list, tuple, set)):
        plain = [_plain(item, path, depth - 1, left) for item in value]
        return Whole(plain) if isinstance(value, Whole) else plain
    return None if value is None else str(value)
