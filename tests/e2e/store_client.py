"""A service that does with its stores what it is asked to, by the programs that everybody has for that."""

import json
import os
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


def sql(text: str) -> str:
    url = urlsplit(os.environ["DB_URL"])
    env = {"PATH": os.environ["PATH"], "PGPASSWORD": url.password or "", "PGCONNECT_TIMEOUT": "5"}
    place = f"host={url.hostname} port={url.port} user={url.username} dbname={url.path[1:]}"
    done = subprocess.run(
        ["psql", place, "-XAtc", text], env=env, capture_output=True, text=True, timeout=20, check=False
    )
    return (done.stdout or done.stderr).strip()


def redis(text: str) -> str:
    url = urlsplit(os.environ["REDIS_URL"])
    env = {"PATH": os.environ["PATH"], "REDISCLI_AUTH": url.password or ""}
    argv = ["redis-cli", "-h", str(url.hostname), "-p", str(url.port), *text.split()]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=20, check=False).stdout.strip()


def nats(text: str) -> str:
    """`SUBJECT PAYLOAD`: a request and its reply."""
    url = urlsplit(os.environ["NATS_URL"])
    subject, _, payload = text.partition(" ")
    with socket.create_connection((url.hostname, url.port), timeout=10) as line, line.makefile("rwb") as file:
        file.readline()  # INFO
        who = json.dumps({"user": url.username, "pass": url.password, "verbose": False})
        said = f"CONNECT {who}\r\nSUB inbox 1\r\nPUB {subject} inbox {len(payload)}\r\n{payload}\r\n"
        file.write(said.encode())
        file.flush()
        while head := file.readline():
            if head.startswith(b"MSG"):
                return file.read(int(head.split()[-1])).decode()
            if head.startswith(b"-ERR"):
                return head.decode()
    return ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        text = parse_qs(asked.query).get("q", [""])[0]
        match asked.path.rpartition("/")[2]:
            case "sql":
                said = sql(text)
            case "redis":
                said = redis(text)
            case "nats":
                said = nats(text)
            case "env":
                said = json.dumps({name: value for name, value in os.environ.items() if "_URL" in name or "PG" in name})
            case _:
                said = "well"
        body = said.encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    ThreadingHTTPServer((sys.argv[1], int(os.environ["PORT"])), Handler).serve_forever()
