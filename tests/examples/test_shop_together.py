"""The shop's services wired by hand, without Atoll: whatever fails here is not Atoll's fault."""

import asyncio
import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from examples.load import run, shop

from atoll.testing.ports import free_port

SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop"
WITHIN_S = 60.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("node") and shutil.which("npm")), reason="node and npm are not on this machine"
    ),
]


class Wired(NamedTuple):
    url: str
    orders_url: str
    mails: tuple[Path, Path]  # of two mailers that work side by side

    def mailed(self) -> list[str]:
        """The order of each mail, by both mailers."""
        lines = [line for file in self.mails for line in file.read_text().splitlines()]
        return [line.split()[5] for line in lines if line.startswith("mailed: thank you")]


def wait_for(url: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=10).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


@pytest.fixture
def wired(tmp_path: Path) -> Iterator[Wired]:
    web_folder = shutil.copytree(SHOP / "web", tmp_path / "web", ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"], cwd=web_folder, check=True, timeout=150, capture_output=True
    )
    catalog, orders, web = free_port(), free_port(), free_port()
    mails = (tmp_path / "mails-1", tmp_path / "mails-2")
    python = sys.executable
    with ExitStack() as stack:

        def start(command: list[str], folder: Path, output: Path | None = None, **env: str) -> None:
            into = stack.enter_context(output.open("wb")) if output else subprocess.DEVNULL
            path = "/usr/local/bin:/usr/bin:/bin:" + str(Path(shutil.which("node") or "").parent)
            process = subprocess.Popen(command, cwd=folder, env={"PATH": path, **env}, stdout=into)
            stack.callback(process.wait, 20)
            stack.callback(process.kill)

        start([python, "server.py", "--port", str(catalog)], SHOP / "catalog")
        start([python, "orders.py"], SHOP / "orders", PORT=str(orders), ORDERS_DB=str(tmp_path / "orders.db"))
        for output in mails:
            start([python, "mailer.py"], SHOP / "mailer", output, ORDERS_URL=f"http://127.0.0.1:{orders}")
        start(
            ["node", "server.js"], web_folder,
            PORT=str(web), CATALOG_ADDR=f"127.0.0.1:{catalog}", ORDERS_URL=f"http://127.0.0.1:{orders}",
        )  # fmt: skip
        for port in (orders, web):
            wait_for(f"http://127.0.0.1:{port}/healthz")
        wait_for(f"http://127.0.0.1:{web}/")  # 503 until catalog answers
        yield Wired(f"http://127.0.0.1:{web}", f"http://127.0.0.1:{orders}", mails)


async def test_customers_look_and_buy_and_get_one_mail_each_from_two_mailers(wired: Wired) -> None:
    phase = await run(wired.url, 40, 2, shop(), 30)
    assert phase.sent > 0
    assert phase.failures == {}

    def waiting() -> int:
        with urllib.request.urlopen(f"{wired.orders_url}/topics/orders.placed", timeout=20) as answer:
            return int(json.load(answer)["waiting"])

    deadline = time.monotonic() + WITHIN_S
    while waiting() and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
    assert waiting() == 0
    assert len(wired.mailed()) >= phase.sent // 5
    assert len(set(wired.mailed())) == len(wired.mailed()), "nobody is mailed twice"
