"""python3 -m unittest"""

import json
import tempfile
import threading
import unittest
from http.client import HTTPConnection
from pathlib import Path

from orders import VERSION, serve


class OrdersTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.database = str(Path(folder.name) / "orders.db")
        self.server = self.start()
        self.client = HTTPConnection("127.0.0.1", self.server.server_port, timeout=20)
        self.addCleanup(self.client.close)

    def start(self):
        server = serve(0, self.database)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server

    def ask(self, method, path, body=None, client=None):
        client = client or self.client
        client.request(method, path, json.dumps(body) if body is not None else None)
        answer = client.getresponse()
        return answer.status, json.loads(answer.read())

    def test_an_order_is_taken_once_however_often_it_is_sent(self) -> None:
        order = {"id": "a1", "sku": "lamp", "price_cents": 4900}
        self.assertEqual(self.ask("POST", "/orders", order), (201, {"id": "a1", "version": VERSION}))
        self.assertEqual(self.ask("POST", "/orders", order)[0], 200)
        self.assertEqual(self.ask("GET", "/topics/orders.placed")[1], {"waiting": 1})

    def test_another_order_cannot_take_a_known_id(self) -> None:
        self.ask("POST", "/orders", {"id": "a1", "sku": "lamp", "price_cents": 4900})
        self.assertEqual(self.ask("POST", "/orders", {"id": "a1", "sku": "sofa", "price_cents": 4900})[0], 409)

    def test_an_order_without_a_sku_is_refused(self) -> None:
        self.assertEqual(self.ask("POST", "/orders", {"id": "a1", "price_cents": 4900})[0], 400)

    def test_an_order_is_published_until_somebody_has_worked_on_it(self) -> None:
        self.ask("POST", "/orders", {"id": "a1", "sku": "lamp", "price_cents": 4900})
        status, taken = self.ask("POST", "/topics/orders.placed/leases", {"limit": 10, "seconds": 30})
        self.assertEqual((status, taken["messages"]), (200, [{"id": "a1", "sku": "lamp"}]))
        self.assertEqual(self.ask("DELETE", "/topics/orders.placed/a1?lease=another")[0], 409)
        self.assertEqual(self.ask("DELETE", f"/topics/orders.placed/a1?lease={taken['lease']}")[0], 200)
        self.assertEqual(self.ask("GET", "/topics/orders.placed")[1], {"waiting": 0})

    def test_a_lease_without_its_limits_is_refused(self) -> None:
        self.assertEqual(self.ask("POST", "/topics/orders.placed/leases", {"limit": 10})[0], 400)

    def test_replicas_share_their_orders(self) -> None:
        other = HTTPConnection("127.0.0.1", self.start().server_port, timeout=20)
        self.addCleanup(other.close)
        self.ask("POST", "/orders", {"id": "a1", "sku": "lamp", "price_cents": 4900})
        self.assertEqual(self.ask("GET", "/orders/a1", client=other)[1]["sku"], "lamp")

    def test_it_is_well_when_its_database_is(self) -> None:
        self.assertEqual(self.ask("GET", "/healthz")[0], 200)


if __name__ == "__main__":
    unittest.main()
