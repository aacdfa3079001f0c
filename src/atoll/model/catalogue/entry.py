"""What a page about one error says. The text is Markdown without links, since a terminal shows it, too."""

from typing import NamedTuple

from atoll.model.catalogue.ids import ErrorId, SymptomId


class Entry(NamedTuple):
    """One page: its id, what happened in a sentence, how it looks, what it means, and causes with their fixes."""

    id: ErrorId | SymptomId
    title: str
    example: str  # as a person meets it, first line only
    means: str
    fixes: tuple[str, ...]  # the most likely first


class Chapter(NamedTuple):
    """Entries that belong to one stage of work."""

    title: str
    entries: tuple[Entry, ...]
