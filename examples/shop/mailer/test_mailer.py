"""python3 -m unittest"""

import contextlib
import io
import json
import threading
import unittest
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

from mailer import mail_all


class Orders(BaseHTTPRequestHandler):
    """The two pages of `orders` that the mailer uses."""

    waiting: ClassVar[dict[str, str]] = {}

    def do_GET(self) -> None:
        self.answer([{"id": id, "sku": sku} for id, sku in self.waiting.items()])

    def do_DELETE(self) -> None:
        self.waiting.pop(self.path.rpartition("/")[2])
        self.answer({})

    def answer(self, body) -> None:
        self.send_response(200)
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

    def test_each_order_is_mailed_and_then_no_more(self) -> None:
        Orders.waiting = {"a1": "lamp", "a2": "sofa"}
        with contextlib.redirect_stdout(io.StringIO()) as mails:
            self.assertEqual(mail_all(self.url), 2)
            self.assertEqual(mail_all(self.url), 0)
        self.assertEqual(mails.getvalue().count("mailed: thank you"), 2)

    def test_orders_that_does_not_answer_is_an_error_not_an_end(self) -> None:
        self.orders.shutdown()
        self.orders.server_close()
        with self.assertRaises(OSError):
            mail_all(self.url)


if __name__ == "__main__":
    unittest.main()
