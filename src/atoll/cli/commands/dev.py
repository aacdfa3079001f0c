"""`atoll dev`."""

from __future__ import annotations

import click

from atoll.cli.failed import Failed
from atoll.cli.session import Session, common_options, json_option, service_argument, takes_session


@click.command
@service_argument(nargs=-1)
@click.option("--no-logs", is_flag=True, help="Do not show what edited services print.")
@click.option("--down", is_flag=True, help="Stop the environment at the end.")
@common_options
@json_option
@takes_session
def command(session: Session, services: tuple[str, ...], no_logs: bool, down: bool) -> None:
    """Bring everything up, then move each service to what its files say, at every edit.

    Without SERVICE: all of the workspace, those that are added later too. Only what was edited is built and switched, by
    a deploy that fails no request; all of the traffic moves as soon as it is ready, whatever [rollout] says. What does not
    build, or does not start, or is not understood, is told with its place, and the last good release goes on.

    Services that say `dev` in their service.toml run in their own folder instead, where they reload by themselves.

    Ctrl-C ends it, and leaves everything running. Works in `local`, and in environments that say `dev = true`. With --json
    one event a line.

    Example:
      atoll dev
      atoll dev orders --no-logs
      atoll dev --down
    """
    from atoll.cli.dev.loop import Dev

    session.must_be_here("`atoll dev`")
    environment = session.load().environment
    if not environment.for_development:
        raise Failed(
            f"'{environment.name}' is not meant for development",
            "`atoll dev` releases each edit at once, and watches nothing after",
            f"use `atoll deploy`; or write `dev = true` under [environments.{environment.name}] in atoll.toml",
            id="not-for-development",
            kind="Refused",
            exit_code=4,
        )
    try:
        Dev(session, services, logs=not no_logs).run()
    finally:
        if down:
            session.hooks.stop_all(session.places, session.say)
        elif session.places.keeper_alive():
            session.say("the environment goes on; `atoll down` stops it")
