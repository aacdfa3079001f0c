"""python3 -m unittest (with requirements.txt installed)"""

import unittest

import grpc
from catalog_pb2 import GetProductRequest, ListProductsRequest
from catalog_pb2_grpc import CatalogStub
from grpc_health.v1 import health_pb2, health_pb2_grpc
from server import PRODUCTS, serve

DEADLINE_S = 20


class CatalogTest(unittest.TestCase):
    def setUp(self) -> None:
        server, port = serve("127.0.0.1", 0)
        self.addCleanup(server.stop, None)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.addCleanup(self.channel.close)
        self.catalog = CatalogStub(self.channel)

    def test_everything_has_a_name_and_a_price(self) -> None:
        shown = self.catalog.ListProducts(ListProductsRequest(), timeout=DEADLINE_S).products
        self.assertEqual(len(shown), len(PRODUCTS))
        self.assertTrue(all(product.name and product.price_cents > 0 for product in shown))

    def test_one_product_is_found_by_its_sku(self) -> None:
        lamp = self.catalog.GetProduct(GetProductRequest(sku="lamp"), timeout=DEADLINE_S)
        self.assertEqual(lamp.price_cents, 4900)

    def test_an_unknown_sku_is_not_found(self) -> None:
        with self.assertRaises(grpc.RpcError) as refused:
            self.catalog.GetProduct(GetProductRequest(sku="unicorn"), timeout=DEADLINE_S)
        self.assertEqual(refused.exception.code(), grpc.StatusCode.NOT_FOUND)

    def test_it_says_that_it_is_well(self) -> None:
        health = health_pb2_grpc.HealthStub(self.channel)
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE_S)
        self.assertEqual(answer.status, health_pb2.HealthCheckResponse.SERVING)


if __name__ == "__main__":
    unittest.main()
