"""Every error that a person can meet: one page each, declared once. Pure data.

`atoll explain` prints a page, `docs/troubleshooting.md` is made of all of them, and each error names its own by `id`.
An error, a new one too, needs the id of the thing that a person must understand; look here for one before adding one.
"""

from collections.abc import Mapping

from atoll.model.catalogue import building, command, deploying, environment, files, jobs, running, starting
from atoll.model.catalogue.page import Chapter, Page

CHAPTERS: tuple[Chapter, ...] = (
    command.CHAPTER,
    environment.CHAPTER,
    files.CHAPTER,
    building.CHAPTER,
    deploying.CHAPTER,
    starting.CHAPTER,
    jobs.CHAPTER,
    running.CHAPTER,
)

PAGES: Mapping[str, Page] = {page.id: page for chapter in CHAPTERS for page in chapter.pages}
