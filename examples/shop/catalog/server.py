"""Knows what the shop sells: gRPC, with the standard health service.

catalog_pb2.py and catalog_pb2_grpc.py are generated from catalog.proto:
    python -m grpc_tools.protoc --proto_path=. --python_out=. --grpc_python_out=. catalog.proto
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor

import grpc
from catalog_pb2 import ListProductsResponse, Product
from catalog_pb2_grpc import CatalogServicer, add_CatalogServicer_to_server
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

PRODUCTS = {
    product.sku: product
    for product in (
        Product(sku="lamp", name="Reading lamp", blurb="Warm light, one switch, nothing to update.", price_cents=4900),
        Product(sku="kettle", name="Kettle", blurb="Whistles at the right moment.", price_cents=3500),
        Product(sku="chair", name="Folding chair", blurb="For the friend who comes unannounced.", price_cents=2700),
        Product(sku="globe", name="Globe", blurb="Every atoll is on it. Bring a lens.", price_cents=11900),
    )
}


class Catalog(CatalogServicer):
    def ListProducts(self, request, context):
        return ListProductsResponse(products=PRODUCTS.values())

    def GetProduct(self, request, context):
        product = PRODUCTS.get(request.sku)
        if product is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"nothing is sold as {request.sku!r}")
        return product


def serve(host: str, port: int) -> tuple[grpc.Server, int]:
    """A running server and its port; port 0 takes a free one."""
    # Without so_reuseport=0 two servers would share one port silently, each with half of the calls.
    server = grpc.server(ThreadPoolExecutor(max_workers=8), options=[("grpc.so_reuseport", 0)])
    add_CatalogServicer_to_server(Catalog(), server)
    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port(f"{host}:{port}")
    server.start()
    return server, port


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    asked = parser.parse_args()
    server, port = serve(asked.host, asked.port)
    print(f"catalog shows {len(PRODUCTS)} products on port {port}", flush=True)
    server.wait_for_termination()
