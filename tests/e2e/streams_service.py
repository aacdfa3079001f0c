"""A service of many protocols for the end-to-end tests, on one port chosen by its first argument: http, grpc or tcp.

HTTP: /sse sends VERSION ten times a second, /ws upgrades and echoes, /headers shows what came, POST counts bytes,
/call fetches UPSTREAM. gRPC: demo.Echo/Say answers VERSION:request, demo.Echo/Count streams. TCP: echoes lines.
"""

import json
import os
import socketserver
import sys
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = os.environ.get("VERSION", "v1")
PORT = int(os.environ["PORT"])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.endswith("/sse"):
            self.stream()
        elif self.path.endswith("/ws"):
            self.upgrade()
        elif self.path.endswith("/call"):
            self.call()
        else:
            self.answer(200, {"version": VERSION, "headers": {key.lower(): self.headers[key] for key in self.headers}})

    def do_POST(self) -> None:
        left, count = int(self.headers.get("content-length", 0)), 0
        while left > 0 and (data := self.rfile.read(min(left, 65536))):
            left -= len(data)
            count += len(data)
        self.answer(200, {"version": VERSION, "bytes": count})

    def stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        while True:
            self.wfile.write(f"data: {VERSION}\n\n".encode())
            self.wfile.flush()
            time.sleep(0.1)

    def upgrade(self) -> None:
        self.send_response(101)
        self.send_header("connection", "upgrade")
        self.send_header("upgrade", "websocket")
        self.end_headers()
        self.close_connection = True
        while data := self.connection.recv(65536):
            self.connection.sendall(VERSION.encode() + b":" + data)

    def call(self) -> None:
        try:
            with urllib.request.urlopen(os.environ["UPSTREAM"] + "/x", timeout=10) as reply:
                self.answer(200, {"version": VERSION, "status": reply.status, "body": reply.read().decode()})
        except urllib.error.HTTPError as exc:
            self.answer(200, {"version": VERSION, "status": exc.code, "body": exc.read().decode()})

    def answer(self, status: int, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


class Lines(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(f"{VERSION}:".encode() + line)


class TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


class HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def serve_grpc() -> None:
    from concurrent.futures import ThreadPoolExecutor

    import grpc
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc

    def count(request: bytes, context: grpc.ServicerContext) -> object:
        for number in range(int(request)):
            yield f"{VERSION}:{number}".encode()
            time.sleep(0.1)

    methods = {
        "Say": grpc.unary_unary_rpc_method_handler(lambda request, context: f"{VERSION}:".encode() + request),
        "Count": grpc.unary_stream_rpc_method_handler(count),
    }
    server = grpc.server(ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("demo.Echo", methods),))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    server.add_insecure_port(f"127.0.0.1:{PORT}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    kind = sys.argv[1]
    if kind == "grpc":
        serve_grpc()
    elif kind == "tcp":
        TcpServer(("127.0.0.1", PORT), Lines).serve_forever()
    else:
        HttpServer(("127.0.0.1", PORT), Handler).serve_forever()
