"""A service that takes its whole configuration from a JSON file (its argument) and answers with it; PORT is not read.

`GET .../call` fetches `upstream` of that file. It also looks after nothing else, and dies at once on SIGTERM.
"""

import json
import sys
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONFIG = json.loads(Path(sys.argv[1]).read_text())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if not self.path.endswith("/call"):
            self.answer(200, CONFIG)
            return
        try:
            with urllib.request.urlopen(CONFIG["upstream"], timeout=10) as reply:
                self.answer(200, {"version": CONFIG["version"], "upstream": json.load(reply)})
        except urllib.error.HTTPError as exc:
            self.answer(200, {"version": CONFIG["version"], "status": exc.code})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.answer(200, CONFIG)

    def answer(self, status: int, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


if __name__ == "__main__":
    Server(("127.0.0.1", CONFIG["port"]), Handler).serve_forever()
