"""Somebody's repository becomes a running environment: init, check, up, a request through the gateway, down; no hand work."""

import json
from pathlib import Path

from lab import Lab

SERVER = """
import json, os, sys, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        told = {"me": os.environ.get("ME", "?"), "path": self.path}
        if "PRICES_URL" in os.environ and self.path != "/healthz":
            with urllib.request.urlopen(os.environ["PRICES_URL"] + "/today", timeout=10) as answer:
                told["prices"] = json.load(answer)
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

where = os.environ.get("LISTEN_ADDR") or f"127.0.0.1:{os.environ['PORT']}"
host, _, port = where.rpartition(":")
ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
"""
WEB = """
const http = require('http');
http.createServer(async (request, response) => {
  if (request.url === '/healthz') return response.end('ok');
  const answer = await fetch(`http://${process.env.API_HOST}:${process.env.API_PORT}/of${request.url}`);
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ me: 'web', colour: process.env.COLOUR, api: await answer.json() }));
}).listen(process.env.PORT, '127.0.0.1');
"""
WORKER = """
import os, time

with open(os.path.join(os.environ["STATE"], "beat"), "w") as file:
    file.write(os.environ["GREETING"])
while True:
    time.sleep(1)
"""
COMPOSE = """\
x-usual: &usual { restart: unless-stopped, networks: [shop] }
services:
  web:
    <<: *usual
    build: ./web
    ports: ["${WEB_PORT:-8080}:3000"]
    environment: { PORT: 3000, COLOUR: "${COLOUR:-red}", API_HOST: api, API_PORT: 5000 }
    depends_on: { api: { condition: service_healthy } }
    healthcheck: { test: ["CMD", "wget", "-q", "http://localhost:3000/healthz"], interval: 2s, timeout: 2s }
  api:
    <<: *usual
    build: { context: ./api }
    env_file: api.env
    environment: { PORT: "5000", PRICES_URL: "http://prices:7000" }
    depends_on: [prices]
    expose: ["5000"]
    stop_grace_period: 5s
  prices:
    <<: *usual
    build: ./prices
    environment: { LISTEN_ADDR: "0.0.0.0:7000", ME: prices }
    expose: [7000]
    deploy: { replicas: 2, resources: { limits: { memory: 256M } } }
  worker:
    <<: *usual
    build: ./worker
    environment: { STATE: /var/state, GREETING: "hello $$you" }
    volumes: ["state:/var/state"]
networks: { shop: }
volumes: { state: }
"""
PYTHON = 'FROM python:3.12-slim\nWORKDIR /app\nCOPY . .\nCMD ["python", "{0}"]\n'
SHOP = {
    "compose.yaml": COMPOSE,
    ".env": "COLOUR=blue\n",
    "api.env": "ME=api\n",
    "web/package.json": json.dumps({"name": "web", "version": "1.0.0", "scripts": {"start": "node server.js"}}),
    "web/server.js": WEB,
    "web/Dockerfile": 'FROM node:22-slim\nWORKDIR /app\nCOPY . .\nEXPOSE 3000\nCMD ["npm", "start"]\n',
    "api/requirements.txt": "",
    "api/server.py": SERVER,
    "api/Dockerfile": PYTHON.format("server.py"),
    "prices/requirements.txt": "",
    "prices/server.py": SERVER,
    "prices/Dockerfile": PYTHON.format("server.py"),
    "worker/requirements.txt": "",
    "worker/worker.py": WORKER,
    "worker/Dockerfile": PYTHON.format("worker.py"),
}
PROCFILE = {
    "Procfile": "web: ME=front python3 server.py\nworker: python3 worker.py\nrelease: python3 migrate.py\n",
    "requirements.txt": "",
    "server.py": SERVER,
    "worker.py": "import time\nwhile True:\n    time.sleep(1)\n",
    "migrate.py": "",
}


def adopt(lab: Lab, files: dict[str, str]) -> dict[str, list[str]]:
    """`atoll init` in a repository of these files; what is left and what is not needed, by service."""
    (lab.root / "atoll.toml").unlink()
    for name, text in files.items():
        (lab.root / name).parent.mkdir(parents=True, exist_ok=True)
        (lab.root / name).write_text(text)
    answer = lab.json("init")
    ours = f'gateway = "127.0.0.1:{lab.gateway_port}"\nports = [{lab.gateway_port + 1}, {lab.gateway_port + 499}]\n'
    file = lab.root / "atoll.toml"
    file.write_text(file.read_text() + ours)  # other environments run on this machine
    return {"left": [each["what"] for each in answer["left"]], "files": sorted(answer["files"])}


def test_a_compose_shop_runs_as_it_was_adopted(lab: Lab) -> None:
    told = adopt(lab, SHOP)
    assert told["left"] == [
        "volume state is {data} now, the service's own folder, and empty at first (STATE)",
        "waited for api to be healthy; services start on their own here",
    ]
    lab.atoll("check")
    lab.atoll("up")
    assert lab.get("/cart") == {
        "me": "web",
        "colour": "blue",
        "api": {"me": "api", "path": "/of/cart", "prices": {"me": "prices", "path": "/today"}},
    }
    (beat,) = Path(lab.home).rglob("beat")
    assert beat.read_text() == "hello $you"
    lab.atoll("down")


def test_a_procfile_runs_as_it_was_adopted(lab: Lab) -> None:
    told = adopt(lab, PROCFILE)
    assert told["files"] == ["atoll.toml", "service.toml", "services/worker/service.toml"]
    assert told["left"] == ["Procfile: `release` is run once, not a service"]
    lab.atoll("check")
    lab.atoll("up")
    assert lab.get("/hello") == {"me": "front", "path": "/hello"}
    lab.atoll("down")
