"""Whether an environment may begin to run on another engine than before, found out before anything is started or changed."""

import sqlite3
from pathlib import Path

from atoll.app.config import Config
from atoll.decide.environment import refuse_other_engine
from atoll.model.errors import UserError
from atoll.store.needed import wanted


def refuse_engine(config: Config, known: Config, *, down: bool) -> None:
    """Raise Refused while services shall run on the engine of `known`, and UserError where that cannot be told.

    `down`: neither keeper nor daemon of the environment run.
    """
    if config.environment.engine == known.environment.engine:
        return
    try:
        services = wanted(Path(config.state))
    except sqlite3.Error as exc:
        raise UserError(
            "it cannot be told what runs, and so not whether another engine may take its place",
            f"the environment's database cannot be read: {exc}",
            f'put `engine = "{known.environment.engine}"` back; `atoll doctor` tells what is wrong with the database',
            id="database-damaged",
        ) from exc
    refuse_other_engine(config.environment, known.environment, services, down=down)
