"""The fake host passes the suite that every host passes, in real time."""

import pytest

from atoll.daemon.clock import SystemClock
from atoll.model.state import Exit
from atoll.ports import Launch
from atoll.testing.fake_host import Behaviour, FakeHost
from atoll.testing.host_suite import Behaviour as Named
from atoll.testing.host_suite import HostSuite

SOON_S = 0.05
SCRIPTS: dict[Named, Behaviour] = {
    "waits": Behaviour(output=("ready",), stop_words=("bye",)),
    "ignores-term": Behaviour(output=("ready",), ignores_signals=True),
    "exits-3": Behaviour(exits_after_s=SOON_S, exit=Exit(code=3), last_words=("failing",)),
    "prints": Behaviour(output=(*(f"line {n}" for n in range(1, 301)), "ready")),
    "missing": Behaviour(cannot_start="./no-such-program: no such file"),
    "listens": Behaviour(output=("ready",)),
    "shows-file": Behaviour(output=("colour = blue", "ready")),
    "echoes-secret": Behaviour(output=(f"secret is {len('swordfish')} long", "ready")),
    "leaves-a-child": Behaviour(output=("ready",), exits_after_s=SOON_S, exit=Exit(code=0)),
}
COMMANDS = {
    "echo": Behaviour(run_exit=Exit(code=4), run_output="green\noops\n"),
    "sleep": Behaviour(run_s=600, run_output="begun\n"),
    "head": Behaviour(run_exit=Exit(code=0), run_output="x" * 3_000_000),
}


class TestFakeHost(HostSuite):
    """All of it; a shell line of the suite becomes the script of the same behaviour."""

    fake: FakeHost

    @pytest.fixture
    def host(self) -> FakeHost:
        self.fake = FakeHost(SystemClock())
        return self.fake

    def launch(self, behaviour: Named, *, service: str = "cabin", release: int = 1, job: str = "") -> Launch:
        launch = super().launch(behaviour, service=service, release=release, job=job)
        had = "found" if service in self.fake.kept else "nothing"
        keeps = Behaviour(output=(had, "ready"))
        self.fake.script_one(launch.id, keeps if behaviour == "keeps" else SCRIPTS[behaviour])
        return launch

    def command(self, line: str) -> Launch:
        launch = super().command(line)
        name = next(name for name in ("sleep", "head", "echo") if name in line)
        self.fake.script_one(launch.id, COMMANDS[name])
        return launch

    async def there_is(self, host: FakeHost, path: str) -> bool:  # type: ignore[override]
        return any(name == path or name.startswith(f"{path}/") for name in host.files())
