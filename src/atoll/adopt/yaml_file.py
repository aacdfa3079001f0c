"""YAML files as plain data: texts, lists, tables and nothing, whatever stands in them.

Every scalar stays the text that was written (`22:22` is no number of seconds, `on` no truth), as Compose reads it
where it matters. Aliases are expanded up to a bound, so that a few lines cannot become a terabyte.
"""

from functools import cache
from typing import Any

from atoll.adopt.tree import Tree
from atoll.model.errors import UserError

MAX_DEPTH = 40
MAX_NODES = 100_000


def load(tree: Tree, path: str) -> dict[str, Any]:
    """The mapping of the YAML file at `path`. Raises UserError for anything else."""
    text = tree.whole(path)
    try:
        value = _parse(text)
    except (ValueError, TypeError, RecursionError) as exc:
        raise UserError(
            f"{path} cannot be read", " ".join(str(exc).split())[:300], "correct the file", id="file-not-understood"
        ) from exc
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(
            f"{path} cannot be read", "it is no mapping of fields", "correct the file", id="file-not-understood"
        )
    return value


def _parse(text: str) -> Any:
    import yaml

    try:
        value = yaml.load(text, Loader=_loader())  # noqa: S506  a SafeLoader that knows even less
    except yaml.YAMLError as exc:
        raise ValueError(str(exc)) from exc
    return _plain(value, MAX_DEPTH, [MAX_NODES])


@cache
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Resolves null and merge keys only; tags such as `!reset` are read as what they stand before."""

        def construct_tagged(self, _: str, node: Any) -> Any:
            match node:
                case yaml.MappingNode():
                    return self.construct_mapping(node, deep=True)
                case yaml.SequenceNode():
                    return self.construct_sequence(node, deep=True)
            return self.construct_scalar(node)

    kept = {"tag:yaml.org,2002:null", "tag:yaml.org,2002:merge"}
    Loader.yaml_implicit_resolvers = {
        first: [pair for pair in pairs if pair[0] in kept]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_multi_constructor("!", Loader.construct_tagged)
    return Loader


def _plain(value: Any, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if depth < 0 or left[0] < 0:
        raise ValueError("it is nested too deeply, or its aliases make it too large")
    if isinstance(value, dict):
        return {str(key): _plain(item, depth - 1, left) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(item, depth - 1, left) for item in value]
    return None if value is None else str(value)
