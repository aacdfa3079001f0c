"""Mails a confirmation for each order: asks `orders` what is to be mailed, mails it, says so. Has no port.

A mail is sent at least once: when this process dies between the mail and the word to `orders`, the next one sends it
again. "Sending" is a line on standard output here.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request
from typing import Any

IDLE_S = 1.0  # between two looks when there is nothing to mail
TROUBLE_S = 3.0  # after orders could not be reached


def ask(method: str, url: str) -> Any:
    """One call to `orders`; OSError when it does not answer well within 5 s."""
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5) as answer:
        return json.load(answer)


def mail_all(orders_url: str) -> int:
    """Mail what waits; how many that were."""
    waiting = ask("GET", f"{orders_url}/confirmations")
    for order in waiting:
        print(f"mailed: thank you for order {order['id']} ({order['sku']})", flush=True)
        ask("DELETE", f"{orders_url}/confirmations/{order['id']}")
    return len(waiting)


def work(orders_url: str) -> None:
    while True:
        try:
            if not mail_all(orders_url):
                time.sleep(IDLE_S)
        except (OSError, ValueError) as problem:  # URLError and HTTPError are OSErrors
            print(f"orders does not answer ({problem}); again in {TROUBLE_S:g} s", flush=True)
            time.sleep(TROUBLE_S)


if __name__ == "__main__":
    work(os.environ["ORDERS_URL"])
