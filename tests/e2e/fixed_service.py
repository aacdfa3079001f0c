"""A program that insists on 0.0.0.0:8080 and knows no variable for it; dies at once on SIGTERM.

`GET .../call` fetches UPSTREAM; of `/live` each answer says how often it was asked for. The first argument is how long it takes to listen, in seconds.
"""

import json
import os
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    lives = 0

    def do_GET(self) -> None:
        Handler.lives += self.path == "/live"
        body: dict[str, object] = {"version": os.environ["VERSION"], "pid": os.getpid(), "lives": Handler.lives}
        if self.path.endswith("/call"):
            with urllib.request.urlopen(os.environ["UPSTREAM"] + "/", timeout=10) as reply:
                body["upstream"] = json.load(reply)
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.do_GET()

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


if __name__ == "__main__":
    time.sleep(float(sys.argv[1]))
    Server(("0.0.0.0", 8080), Handler).serve_forever()
