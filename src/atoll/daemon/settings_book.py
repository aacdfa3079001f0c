"""What atoll.toml says of the environment, where the file is on another machine: told by people, kept, taken up by a restart.

Part of `Environment`. On the machine that has the file, `atoll up` does all this itself, and the API is not asked.
"""

import asyncio
import logging
from collections.abc import Sequence

from atoll.daemon.identity import Settings
from atoll.daemon.pulse import Pulse
from atoll.decide.environment import differences, kept_there, refuse_other_engine
from atoll.model.environment import EnvironmentSpec
from atoll.model.errors import Conflict
from atoll.model.rows import Change
from atoll.model.state import Event
from atoll.model.wire import EnvironmentRequest, EnvironmentView
from atoll.ports import Clock
from atoll.realise.records import Records

_log = logging.getLogger("atoll.daemon")
_ANSWERED_S = 0.2  # until the answer is out


class SettingsBook:
    """One environment's settings."""

    def __init__(self, workspace: str, settings: Settings, records: Records, clock: Clock, pulse: Pulse) -> None:
        self._workspace, self._settings = workspace, settings
        self._records, self._clock, self._pulse = records, clock, pulse
        self._lock = asyncio.Lock()
        self._restarting: asyncio.Task[None] | None = None

    async def environment(self) -> EnvironmentView:
        """What this daemon runs with."""
        return EnvironmentView(workspace=self._workspace, environment=self._settings.environment)

    async def check_environment(self, request: EnvironmentRequest) -> EnvironmentView:
        """What `set_environment` would refuse is raised, and nothing changed. Raises as that does."""
        await self._possible(request.environment)
        return await self.environment()

    async def _possible(self, told: EnvironmentSpec) -> Sequence[str]:
        """The fields in which it differs from what runs. Raises Conflict, Refused, UserError for what cannot be."""
        running, intents = self._settings.environment, self._records.intents
        if told.name != running.name:
            raise Conflict(
                f"this is the environment '{running.name}', not '{told.name}'",
                "each has a daemon of its own",
                "correct the path in `host`: its socket is another environment's",
                id="another-environment",
            )
        if changed := differences(told, running):
            refuse_other_engine(told, running, [name for name in intents if intents[name].target is not None])
            await asyncio.to_thread(self._settings.check, kept_there(told, running))
        return changed

    async def set_environment(self, request: EnvironmentRequest) -> EnvironmentView:
        """Keep it, and start anew with it; what says the same changes nothing. Raises Conflict, Refused, UserError."""
        running, told = self._settings.environment, request.environment
        async with self._lock:
            if (changed := await self._possible(told)) and self._restarting is None:
                await asyncio.to_thread(self._settings.keep, kept_there(told, running))
                text = f"atoll.toml has changed: {', '.join(changed)}; the daemon starts anew with it"
                wall = self._clock.now().wall
                event = Event(kind="environment.changed", message=text, author=request.author, wall=wall)
                await self._records.commit(Change(events=(event,)))
                self._pulse.beat()
                self._restarting = asyncio.create_task(self._restart())
        return await self.environment()

    async def _restart(self) -> None:
        await asyncio.sleep(_ANSWERED_S)
        try:
            await asyncio.to_thread(self._settings.restart)
        except Exception as exc:  # noqa: BLE001  nobody waits for this task: it says itself what went wrong
            _log.error("what atoll.toml says is kept, but the daemon could not start anew with it: %s", exc)
            self._restarting = None  # whoever tells it again has it tried again
