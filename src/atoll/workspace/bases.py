"""Whether the names in `docker.bases` of an environment are those of anything. Pure; called by `loader`."""

from collections.abc import Iterable, Iterator, Mapping

from atoll.model.errors import Problem
from atoll.model.suggest import nearest
from atoll.workspace.positions import field_text

# What images are built of, by the names that builders have (`pipeline.detect`).
TECHNOLOGIES = ("python", "node", "go", "rust", "maven", "gradle", "java")
SERVERS = ("postgres", "redis", "nats")


def doubtful(environment: str, bases: Mapping[str, str], types: Iterable[str]) -> Iterator[Problem]:
    """A warning for each name that is nearly one that means something, and means nothing.

    What is like no other name is left alone: it may be another workspace's, whose settings are shared.

    Args:
        environment: the name of the environment.
        bases: its `docker.bases`.
        types: the types of the workspace's stores, which have images, too.
    """
    known = {*TECHNOLOGIES, *(f"{name}-run" for name in TECHNOLOGIES), *SERVERS, *types}
    for name in sorted(set(bases) - known):
        if meant := nearest(name, known):
            yield Problem(
                file="atoll.toml",
                field=field_text(("environments", environment, "docker", "bases", name)),
                what=f"docker.bases.{name} is used by nothing: no technology and no store is called so",
                fix=f"did you mean '{meant}'?",
                id="unknown-field",
                level="warning",
            )
