"""All chapters and pages, in the order in which they are shown."""

from collections.abc import Mapping

from atoll.model.catalogue import (
    access,
    building,
    command,
    deploying,
    environment,
    files,
    jobs,
    kept,
    remote,
    running,
    starting,
)
from atoll.model.catalogue.page import Chapter, Page

CHAPTERS: tuple[Chapter, ...] = (
    command.CHAPTER,
    environment.CHAPTER,
    access.CHAPTER,
    remote.CHAPTER,
    kept.CHAPTER,
    files.CHAPTER,
    building.CHAPTER,
    deploying.CHAPTER,
    starting.CHAPTER,
    jobs.CHAPTER,
    running.CHAPTER,
)

PAGES: Mapping[str, Page] = {page.id: page for chapter in CHAPTERS for page in chapter.pages}
