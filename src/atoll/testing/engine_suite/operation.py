"""What people do with what runs: read its output, run commands beside it, end it all."""

import threading
from functools import partial

from atoll.cli.drafts import new_key
from atoll.model.hosted import LogLine
from atoll.model.wire import StopRequest
from atoll.testing.engine_suite.capabilities import shows
from atoll.testing.engine_suite.lab import Lab


class Operation:
    """Part of `EngineSuite`."""

    @shows("logs")
    def test_logs_tell_replica_stream_and_order(self, lab: Lab) -> None:
        lab.service("reports")
        lab.up("reports")
        [replica] = lab.replicas("reports")
        for number in range(3):
            lab.ask("/reports/say", text=f"line {number}")
        lines = lab.until(
            lambda: [line for line in lab.logs("reports") if line.text.startswith("line")][5:] and lab.logs("reports")
        )
        assert {line.replica for line in lines} == {replica}
        assert lines[0].text == "v1 starting"
        for stream in ("stdout", "stderr"):
            texts = [line.text for line in lines if line.stream == stream and line.text.startswith("line")]
            assert texts == ["line 0", "line 1", "line 2"]

    @shows("logs")
    def test_logs_are_followed_from_one_release_to_the_next(self, lab: Lab) -> None:
        lab.service("exports")
        lab.up("exports")
        seen: list[LogLine] = []

        def follow() -> None:
            for line, _ in lab.client.logs(["exports"], replica=None, tail=5, follow=True, since_wall=0.0):
                seen.append(line)
                if line.text == "the end":
                    return

        following = threading.Thread(target=follow, daemon=True)
        following.start()
        lab.until(lambda: seen, what="the line of its start came")
        lab.service("exports", env={"VERSION": "v2"})
        assert lab.deploy("exports").good
        lab.ask("/exports/say", text="the end")
        following.join(timeout=60)
        texts = [line.text for line in seen]
        assert texts[:2] == ["v1 starting", "v2 starting"]
        assert "the end" in texts

    @shows("logs")
    def test_logs_are_there_after_the_end(self, lab: Lab) -> None:
        lab.service("imports")
        lab.up("imports")
        lab.ask("/imports/say", text="last words")
        lab.client.stop("imports", StopRequest(key=new_key()))
        lab.until(lambda: not lab.of("imports").replicas, what="it has stopped")

        def kept(stream: str) -> bool:
            return ("last words", stream) in [(line.text, line.stream) for line in lab.logs("imports")]

        for stream in ("stdout", "stderr"):
            lab.until(partial(kept, stream), what=f"its last words on {stream} are there")

    @shows("exec")
    def test_a_command_runs_in_the_services_surroundings_and_its_end_is_told(self, lab: Lab) -> None:
        lab.service("backups", env={"VERSION": "v7"})
        lab.up("backups")
        good = lab.exec("backups", *lab.command("hello", "there"))
        assert good.exit.code == 0
        assert "v7 hello there" in good.output
        assert lab.exec("backups", *lab.command("fail")).exit.code == 4

    @shows("down")
    def test_stopping_one_service_leaves_the_others(self, lab: Lab) -> None:
        lab.service("ledgers")
        lab.service("site")
        lab.up("ledgers", "site")
        before = lab.replicas("site")
        lab.client.stop("ledgers", StopRequest(key=new_key()))
        lab.until(lambda: not lab.of("ledgers").replicas, what="it has stopped")
        assert lab.get("/ledgers/x").status in {404, 503}
        assert lab.get("/site/x").version == "v1"
        assert lab.replicas("site") == before

    @shows("down")
    def test_down_leaves_nothing_behind_and_touches_nothing_else(self, lab: Lab) -> None:
        with Lab(lab.platform) as own, lab.platform.foreign(own.folder) as still_there:
            own.service("taxes", "replicas = 2", env={"DATA": "{data}"})
            own.service("mailer", 'port = "none"', kind="worker", route=None, health=None)
            own.up()
            own.ask("/taxes/write", path="$DATA/note", text="kept")
            before = {path: path.read_bytes() for path in own.root.rglob("*") if path.is_file()}
            own.down()
            assert still_there()
            assert {path: path.read_bytes() for path in own.root.rglob("*") if path.is_file()} == before
            own.up("taxes")
            assert own.get("/taxes/x").version == "v1"
            if own.platform.keeps_data:
                assert own.ask("/taxes/read", path="$DATA/note")["text"] == "kept"
