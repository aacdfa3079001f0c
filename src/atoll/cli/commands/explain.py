"""`atoll explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from atoll.cli.failed import Failed
from atoll.cli.output import console, print_json, print_screen
from atoll.cli.session import Session, common_options, json_option, takes_session

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem
    from rich.console import RenderableType

    from atoll.model.catalogue.page import Page


_WIDTH = 100  # prose is read in lines of this length, also from a pipe
_WIDEST = 26  # of the ids


def _ids_to_complete(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from atoll.model.catalogue.pages import PAGES

    return [CompletionItem(id, help=page.title) for id, page in PAGES.items() if id.startswith(begun)]


@click.command
@click.argument("id", metavar="[ID]", required=False, shell_complete=_ids_to_complete)
@common_options
@json_option
@takes_session
def command(session: Session, id: str | None) -> None:
    """Explain an error by its id: what it means, its causes and their fixes.

    The id stands in brackets in each error, and as `id` or `reason_id` in JSON. Without ID: all of them.
    Needs neither a workspace nor a network.

    Example:
      atoll explain gateway-port-taken
      atoll explain
    """
    from atoll.model.catalogue.pages import CHAPTERS, PAGES
    from atoll.model.suggest import nearest

    if id is not None and (id := id.strip("[]").lower()) not in PAGES:
        near = nearest(id, PAGES)
        fix = f"did you mean '{near}'?" if near else "`atoll explain` lists them"
        raise Failed(f"there is no error '{id}'", "ids are the words in brackets", fix, id="usage", kind="NotFound")
    if session.json:
        print_json([PAGES[id]] if id else list(PAGES.values()))
    elif id is not None:
        print_screen(_page(PAGES[id]), wrap=True)
    else:
        out = console()
        for chapter in CHAPTERS:
            out.print(chapter.title, style="bold")
            for page in chapter.pages:
                out.print(f"  {page.id:<{_WIDEST}}  {page.title}", markup=False)


def _page(page: Page) -> RenderableType:
    from rich.console import Group
    from rich.constrain import Constrain
    from rich.table import Table
    from rich.text import Text

    fixes = Table.grid(padding=(0, 1))
    for fix in page.fixes:
        fixes.add_row(" -", Text(fix))
    title = Text.assemble((page.title, "bold"), (f"  [{page.id}]", "dim"))
    example = Text(f"  {page.example}", "red")
    return Constrain(Group(title, "", example, "", Text(page.means), "", fixes), _WIDTH)
