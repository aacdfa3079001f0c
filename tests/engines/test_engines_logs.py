"""Log files are found by the ids of replicas, whatever somebody asks for: readers of an environment ask here."""

from pathlib import Path

import pytest

from atoll.engines import logs

LINE = b"1000.5 o what another environment printed\n"


@pytest.mark.parametrize(
    "asked", ["{other}/web-r1-0", "{other}/web.", "../../other/web-r1-0", "../../other/web.", "../web/web-r1-0"]
)
async def test_no_path_is_an_id(tmp_path: Path, asked: str) -> None:
    own, other = tmp_path / "logs" / "orders", tmp_path / "other"
    for folder in (own, other, tmp_path / "logs" / "web"):
        folder.mkdir(parents=True)
    for path in (other / "web-r1-0.log", other / "web.nightly.log", tmp_path / "logs" / "web" / "web-r1-0.log"):
        path.write_bytes(LINE)
    replica = asked.format(other=other)
    assert logs.chosen(own, replica) == []
    assert [line async for line in logs.read(own, "orders", replica, 10, False, 0.0)] == []
