"""python3 -m unittest"""

import contextlib
import io
import json
import threading
import unittest
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar
from unittest import mock

import mailer
from mailer import mail_some


class Orders(BaseHTTPRequestHandler):
    """The two pages of `orders` that the mailer uses; it hands each message out once."""

    waiting: ClassVar[dict[str, str]] = {}
    leased: ClassVar[dict[str, str]] = {}

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        taken = list(self.waiting)[: asked["limit"]] if self.path == "/topics/orders.placed/leases" else []
        self.leased.update({id: self.waiting.pop(id) for id in taken})
        self.answer(200, {"lease": "l1", "messages": [{"id": id, "sku": self.leased[id]} for id in taken]})

    def do_DELETE(self) -> None:
        id, _, lease = self.path.rpartition("/")[2].partition("?lease=")
        known = lease == "l1" and self.leased.pop(id, None)
        self.answer(200 if known else 409, {})

    def answer(self, status, body) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_) -> None: ...


class MailerTest(unittest.TestCase):
    def setUp(self) -> None:
        self.orders = HTTPServer(("127.0.0.1", 0), Orders)
        threading.Thread(target=self.orders.serve_forever, daemon=True).start()
        self.addCleanup(self.orders.server_close)
        self.addCleanup(self.orders.shutdown)
        self.url = f"http://127.0.0.1:{self.orders.server_port}"
        Orders.waiting, Orders.leased = {"a1": "lamp", "a2": "sofa"}, {}

    def mail(self) -> tuple[int, str]:
        with contextlib.redirect_stdout(io.StringIO()) as mails:
            return mail_some(self.url), mails.getvalue()

    def test_each_order_is_mailed_and_then_no_more(self) -> None:
        count, mails = self.mail()
        self.assertEqual((count, mails.count("mailed: thank you")), (2, 2))
        self.assertEqual(self.mail(), (0, ""))

    def test_what_was_mailed_is_acknowledged(self) -> None:
        self.mail()
        self.assertEqual(Orders.leased, {})

    def test_no_more_are_taken_than_can_be_mailed_in_time(self) -> None:
        Orders.waiting = {f"o{number}": "lamp" for number in range(mailer.AT_A_TIME + 1)}
        self.assertEqual(self.mail()[0], mailer.AT_A_TIME)
        self.assertEqual(len(Orders.waiting), 1)

    def test_a_mailer_that_is_late_leaves_the_rest_to_others(self) -> None:
        with mock.patch("mailer.time.monotonic", side_effect=[0, 1, 16]):
            count, mails = self.mail()
        self.assertEqual((count, mails.count("mailed")), (1, 1))
        self.assertEqual(list(Orders.leased), ["a2"])

    def test_orders_that_does_not_answer_is_an_error_not_an_end(self) -> None:
        self.orders.shutdown()
        self.orders.server_close()
        with self.assertRaises(OSError):
            mail_some(self.url)


if __name__ == "__main__":
    unittest.main()
