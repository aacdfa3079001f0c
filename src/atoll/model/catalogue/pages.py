"""All chapters and pages, in the order in which they are shown."""

from collections.abc import Mapping

from atoll.model.catalogue import building, command, deploying, environment, files, jobs, remote, running, starting
from atoll.model.catalogue.page import Chapter, Page

CHAPTERS: tuple[Chapter, ...] = (
    command.CHAPTER,
    environment.CHAPTER,
    remote.CHAPTER,
    files.CHAPTER,
    building.CHAPTER,
    deploying.CHAPTER,
    starting.CHAPTER,
    jobs.CHAPTER,
    running.CHAPTER,
)

PAGES: Mapping[str, Page] = {page.id: page for chapter in CHAPTERS for page in chapter.pages}
