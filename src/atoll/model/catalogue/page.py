"""What a page about one error says. The text is Markdown without links, since a terminal shows it, too."""

from typing import NamedTuple

import msgspec

from atoll.model.catalogue.ids import PageId


class Page(msgspec.Struct, frozen=True):
    """What is to be known of one error."""

    id: PageId
    title: str  # what happened, in a sentence
    example: str  # how a person meets it: the first line
    means: str  # what lies behind it
    fixes: tuple[str, ...]  # causes and what to do about each, the most likely first


class Chapter(NamedTuple):
    """The errors of one stage of work."""

    title: str
    pages: tuple[Page, ...]
