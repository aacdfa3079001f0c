"""The repository's Markdown as its tests see it: pages, links, anchors, and blocks of code."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
_MARKDOWN = MarkdownIt("commonmark").enable("table")


class Block(NamedTuple):
    """A fenced block: where, its language, its text."""

    page: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        """What a test calls it."""
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every page that people read, generated ones too. What a build or an install left beside them is none."""
    top = sorted(ROOT.glob("*.md"))
    return [*top, *sorted((ROOT / "docs").glob("**/*.md")), *sorted(ROOT.glob("examples/*/README.md"))]


def names() -> list[str]:
    """The same, relative to the repository."""
    return [path.relative_to(ROOT).as_posix() for path in pages()]


@cache
def tokens(page: str) -> list[Token]:
    return _MARKDOWN.parse((ROOT / page).read_text())


def inline(page: str) -> Iterator[tuple[int, Token]]:
    """Each piece of running text, with its line."""
    for token in tokens(page):
        for child in token.children or ():
            yield (token.map[0] + 1 if token.map else 0), child


def links(page: str) -> list[tuple[int, str]]:
    """(line, target) of every link and image."""
    found = [(line, str(token.attrGet("href"))) for line, token in inline(page) if token.type == "link_open"]
    return found + [(line, str(token.attrGet("src"))) for line, token in inline(page) if token.type == "image"]


@cache
def anchors(page: str) -> frozenset[str]:
    """The anchors of a page as GitHub and MyST make them of headings."""
    seen: dict[str, int] = {}
    found: set[str] = set()
    for before, token in zip(tokens(page), tokens(page)[1:], strict=False):
        if before.type == "heading_open":
            text = "".join(child.content for child in token.children or () if child.type in {"text", "code_inline"})
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            count = seen[slug] = seen.get(slug, -1) + 1
            found.add(f"{slug}-{count}" if count else slug)
    return frozenset(found)


def blocks(page: str) -> Iterator[Block]:
    """Every fenced block."""
    for token in tokens(page):
        if token.type == "fence":
            line = token.map[0] + 1 if token.map else 0
            yield Block(page, line, token.info.split(" ")[0], token.content)
