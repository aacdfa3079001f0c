"""Mails a confirmation for each order: takes messages of the topic orders.placed, mails them, says so. Has no port.

Several of these work side by side: a message is leased to one of them. A mail is sent once in normal work, and at least
once whatever happens: when this process dies between the mail and the word to `orders`, the lease runs out and another one
sends it again. "Sending" is a line on standard output here.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request
from typing import Any

TOPIC = "orders.placed"
AT_A_TIME = 10  # so few that all are mailed long before the lease ends
LEASE_S = 30.0
IDLE_S = 1.0  # between two looks when there is nothing to mail
TROUBLE_S = 3.0  # after orders could not be reached


def ask(method: str, url: str, body: object = None) -> Any:
    """One call to `orders`; OSError when it does not answer well within 5 s."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, method=method), timeout=5) as answer:
        return json.load(answer)


def mail_some(orders_url: str) -> int:
    """Mail what waits, at most AT_A_TIME; how many that were."""
    began = time.monotonic()
    taken = ask("POST", f"{orders_url}/topics/{TOPIC}/leases", {"limit": AT_A_TIME, "seconds": LEASE_S})
    for number, order in enumerate(taken["messages"]):
        if time.monotonic() - began > LEASE_S / 2:
            return number  # too slow today: leave the rest to whoever gets it next, before it is mailed twice
        print(f"mailed: thank you for order {order['id']} ({order['sku']})", flush=True)
        ask("DELETE", f"{orders_url}/topics/{TOPIC}/{order['id']}?lease={taken['lease']}")
    return len(taken["messages"])


def work(orders_url: str) -> None:
    while True:
        try:
            if not mail_some(orders_url):
                time.sleep(IDLE_S)
        except (OSError, ValueError) as problem:  # URLError and HTTPError are OSErrors
            print(f"orders does not answer ({problem}); again in {TROUBLE_S:g} s", flush=True)
            time.sleep(TROUBLE_S)


if __name__ == "__main__":
    work(os.environ["ORDERS_URL"])
