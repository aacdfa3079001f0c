"""Writes the errors' pages: `python -m atoll.cli.pages > docs/troubleshooting.md`. A test fails when that lags."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from atoll.model.catalogue.pages import CHAPTERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from atoll.model.catalogue.page import Page

_HEAD = """\
# Troubleshooting

<!-- Generated: python -m atoll.cli.pages > docs/troubleshooting.md; the text stands in src/atoll/model/catalogue. -->

Every error of Atoll has an id, the word in brackets, and a section here of that name. `atoll explain ID` prints the
same without a network. With `--json` the id is `id`, or `reason_id` where it tells why something is not well.

Three commands answer most questions: `atoll why orders` (why it is as it is, with its last words), `atoll doctor` (this
machine and Atoll's own parts) and `atoll events` (what happened). Atoll's own logs lie in the folder that `atoll doctor`
calls `data`: `logs/daemon.log` says what was decided, `logs/proxy.log` is Envoy's, `logs/keeper.log` the keeper's.
"""


def document() -> str:
    """All chapters, each error under its id, so that its anchor is `#ID` wherever the page is shown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield _HEAD
    for chapter in CHAPTERS:
        links = ", ".join(f"[{page.id}](#{page.id})" for page in chapter.pages)
        yield f"- **{chapter.title}**: {links}"
    for chapter in CHAPTERS:
        yield from ("", f"## {chapter.title}")
        for page in chapter.pages:
            yield from _section(page)


def _section(page: Page) -> Iterator[str]:
    yield from ("", f"### {page.id}", "", f"**{page.title}.** {page.means}", "")
    yield from ("```text", page.example, "```", "")
    yield from (f"- {fix}" for fix in page.fixes)


if __name__ == "__main__":
    click.echo(document(), nl=False)
