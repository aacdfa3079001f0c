"""A polyglot shop of twelve services behind one compose.yaml, in the shape of the well-known demonstration shops."""

GO_MOD = "module example.com/{0}\n\ngo 1.22\n"
GO_GRPC = """package main

import (
	"os"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	port := os.Getenv("PORT")
	srv := grpc.NewServer()
	healthpb.RegisterHealthServer(srv, nil)
	_ = port
}
"""
GO_HTTP = """package main

import (
	"net/http"
	"os"
)

func main() {
	addr := os.Getenv("LISTEN_ADDR")
	http.HandleFunc("/_healthz", nil)
	http.ListenAndServe(addr+":"+os.Getenv("PORT"), nil)
}
"""
NODE_GRPC = """const grpc = require('@grpc/grpc-js');
const PORT = process.env.PORT;
const server = new grpc.Server();
server.addService(health.service, {});
server.bindAsync(`[::]:${PORT}`, grpc.ServerCredentials.createInsecure(), () => {});
"""
PY_GRPC = """import os
import grpc
from grpc_health.v1 import health_pb2_grpc

if __name__ == "__main__":
    port = os.environ.get("PORT", "8080")
    server = grpc.server(None)
"""
GO_IMAGE = 'FROM golang AS builder\nWORKDIR /src\nRUN go build -o /app .\nFROM scratch\nCOPY --from=builder /app /src/server\nWORKDIR /src\nENV GOTRACEBACK=single\nEXPOSE {0}\nENTRYPOINT ["/src/server"]\n'
NODE_IMAGE = (
    'FROM node:20\nWORKDIR /usr/src/app\nCOPY . .\nRUN npm ci\nEXPOSE {0}\nENTRYPOINT [ "node", "server.js" ]\n'
)
PY_IMAGE = (
    'FROM python:3.12-slim\nENV PYTHONUNBUFFERED=1\nWORKDIR /app\nCOPY . .\nEXPOSE 8080\nENTRYPOINT ["python", "{0}"]\n'
)

COMPOSE = """
x-defaults: &defaults
  restart: unless-stopped
  networks: [shop]
  logging: { driver: json-file }

services:
  frontend:
    <<: *defaults
    build: ./src/frontend
    ports: ["8080:8080"]
    environment:
      - PORT=8080
      - LISTEN_ADDR=
      - PRODUCT_CATALOG_SERVICE_ADDR=productcatalogservice:3550
      - CURRENCY_SERVICE_ADDR=currencyservice:7000
      - CART_SERVICE_ADDR=cartservice:7070
      - CHECKOUT_SERVICE_ADDR=checkoutservice:5050
      - REVIEWS_URL=http://reviews:5000/api
      - ENABLE_PROFILER=0
    depends_on: [productcatalogservice, currencyservice, cartservice, checkoutservice]
  productcatalogservice:
    <<: *defaults
    build: { context: ./src/productcatalogservice }
    environment: { PORT: "3550", DISABLE_PROFILER: "1" }
    healthcheck:
      test: ["CMD", "/bin/grpc_health_probe", "-addr=:3550"]
      interval: 10s
  currencyservice:
    <<: *defaults
    build: ./src/currencyservice
    environment: [PORT=7000]
  paymentservice:
    <<: *defaults
    build: ./src/paymentservice
    environment: [PORT=50051]
  shippingservice:
    <<: *defaults
    build: ./src/shippingservice
    environment: [PORT=50051]
  emailservice:
    <<: *defaults
    build: ./src/emailservice
    environment: [PORT=8080]
  recommendationservice:
    <<: *defaults
    build: ./src/recommendationservice
    environment: ["PORT=8080", "PRODUCT_CATALOG_SERVICE_ADDR=productcatalogservice:3550"]
    mem_limit: 450m
  checkoutservice:
    <<: *defaults
    build: ./src/checkoutservice
    deploy: { replicas: 2 }
    environment:
      PORT: 5050
      PAYMENT_SERVICE_ADDR: paymentservice:50051
      SHIPPING_SERVICE_ADDR: shippingservice:50051
      EMAIL_SERVICE_ADDR: emailservice:8080
      CART_SERVICE_ADDR: cartservice:7070
  adservice:
    <<: *defaults
    build: ./src/adservice
    environment: { PORT: 9555 }
  cartservice:
    <<: *defaults
    build: { context: ./src/cartservice/src }
    environment: [REDIS_ADDR=redis-cart:6379]
    depends_on: { redis-cart: { condition: service_healthy } }
  reviews:
    <<: *defaults
    build: ./src/reviews
    environment:
      DATABASE_URL: postgresql://shop:${DB_PASSWORD}@db:5432/reviews
      CACHE_HOST: redis-cart
      CACHE_PORT: 6379
      OTEL_EXPORTER_OTLP_ENDPOINT: http://collector:4318
    healthcheck:
      test: curl -fsS http://localhost:5000/healthz || exit 1
      interval: 5s
      timeout: 3s
      retries: 5
      start_period: 20s
    stop_grace_period: 30s
    volumes: ["./src/reviews:/app", "uploads:/data/uploads"]
  loadgenerator:
    <<: *defaults
    build: ./src/loadgenerator
    environment: { FRONTEND_ADDR: "frontend:8080", USERS: 10 }
    profiles: [load]
  redis-cart:
    image: redis:alpine
    volumes: [redis-data:/data]
  db:
    image: postgres:16
    ports: ["127.0.0.1:5433:5432"]
    environment: { POSTGRES_PASSWORD: "${DB_PASSWORD}" }
  collector:
    image: otel/opentelemetry-collector:0.100.0

networks: { shop: {} }
volumes: { redis-data: {}, uploads: {} }
"""


def shop() -> dict[str, str]:
    files = {"compose.yaml": COMPOSE, ".env": "DB_PASSWORD=hunter2\n"}
    for name, port in (("productcatalogservice", 3550), ("shippingservice", 50051), ("checkoutservice", 5050)):
        files[f"src/{name}/go.mod"] = GO_MOD.format(name)
        files[f"src/{name}/main.go"] = GO_GRPC
        files[f"src/{name}/Dockerfile"] = GO_IMAGE.format(port)
    files["src/frontend/go.mod"] = GO_MOD.format("frontend")
    files["src/frontend/main.go"] = GO_HTTP
    files["src/frontend/Dockerfile"] = GO_IMAGE.format(8080)
    for name, port in (("currencyservice", 7000), ("paymentservice", 50051)):
        files[f"src/{name}/package.json"] = '{"dependencies": {"@grpc/grpc-js": "1", "grpc-health-check": "2"}}'
        files[f"src/{name}/server.js"] = NODE_GRPC
        files[f"src/{name}/Dockerfile"] = NODE_IMAGE.format(port)
    for name, program in (("emailservice", "email_server.py"), ("recommendationservice", "recommendation_server.py")):
        files[f"src/{name}/requirements.txt"] = "grpcio==1.66\ngrpcio-health-checking==1.66\n"
        files[f"src/{name}/{program}"] = PY_GRPC
        files[f"src/{name}/Dockerfile"] = PY_IMAGE.format(program)
    files["src/adservice/build.gradle"] = (
        "plugins {\n  id 'java'\n  id 'application'\n}\ndependencies { implementation 'io.grpc:grpc-netty:1' }\n"
    )
    files["src/adservice/settings.gradle"] = "rootProject.name = 'hipstershop'\n"
    files["src/adservice/gradlew"] = "#!/bin/sh\n"
    files["src/adservice/src/main/java/shop/AdService.java"] = (
        'class AdService { public static void main(String[] a) { System.getenv("PORT"); ServerBuilder.forPort(1);'
        " new HealthStatusManager(); } }"
    )
    files["src/adservice/Dockerfile"] = (
        'FROM eclipse-temurin\nWORKDIR /app\nEXPOSE 9555\nENTRYPOINT ["/app/build/install/hipstershop/bin/AdService"]\n'
    )
    files["src/cartservice/src/cartservice.csproj"] = (
        '<Project Sdk="Microsoft.NET.Sdk.Web"><PackageReference Include="Grpc.AspNetCore" /><PackageReference'
        ' Include="Grpc.AspNetCore.HealthChecks" /></Project>'
    )
    files["src/cartservice/src/Program.cs"] = "// starts"
    files["src/cartservice/src/Dockerfile"] = 'FROM runtime\nEXPOSE 7070\nENTRYPOINT ["/app/cartservice"]\n'
    files["src/reviews/requirements.txt"] = "Flask==3.0\ngunicorn==22\n"
    files["src/reviews/app.py"] = (
        "from flask import Flask\n\napp = Flask(__name__)\n\n@app.get('/healthz')\ndef well(): ...\n"
    )
    files["src/reviews/Dockerfile"] = (
        'FROM python\nWORKDIR /app\nEXPOSE 5000\nCMD ["gunicorn", "-b", "0.0.0.0:5000", "app:app"]\n'
    )
    files["src/loadgenerator/requirements.txt"] = "locust==2\n"
    files["src/loadgenerator/locustfile.py"] = "import locust\n"
    files["src/loadgenerator/Dockerfile"] = (
        'FROM python\nENTRYPOINT locust --host="http://${FRONTEND_ADDR}" --headless -u "${USERS:-10}" 2>&1\n'
    )
    return files


# --- what comes out of it, to the letter --------------------------------------------------------------------------

SHOP_FILES = {
    "atoll.toml": """\
name = "repo"
services = ["src/*", "src/cartservice/src"]

[stores]
redis-cart = "redis://127.0.0.1:6379"
""",
    "src/adservice/service.toml": """\
run = "build/install/hipstershop/bin/hipstershop"
build = "./gradlew --no-daemon installDist"
port = "grpc"

[health]
ready = "grpc"
start_budget = "2m"
""",
    "src/cartservice/src/service.toml": """\
name = "cartservice"
run = "dotnet out/cartservice.dll --urls {url}"
port = "grpc"
health = "grpc"

[build]
steps = "dotnet publish cartservice.csproj -c Release -o out"
outputs = ["out"]

[stores]
redis-cart = { env = { REDIS_ADDR = "{address}" } }  # redis-cart:6379 is 127.0.0.1:6379
""",
    "src/checkoutservice/service.toml": """\
run = "./checkoutservice"
port = "grpc"
health = "grpc"
replicas = 2

[calls]
paymentservice = "PAYMENT_SERVICE_ADDR"
shippingservice = "SHIPPING_SERVICE_ADDR"
emailservice = "EMAIL_SERVICE_ADDR"
cartservice = "CART_SERVICE_ADDR"
""",
    "src/currencyservice/service.toml": """\
run = "node server.js"
port = "grpc"
health = "grpc"
""",
    "src/emailservice/service.toml": """\
run = "python3 email_server.py"
port = "grpc"
health = "grpc"

[env]
PYTHONUNBUFFERED = "1"
""",
    "src/frontend/service.toml": """\
run = "./frontend"
health = "/_healthz"  # found in src/frontend/main.go
route = "/"

[calls]
productcatalogservice = "PRODUCT_CATALOG_SERVICE_ADDR"
currencyservice = "CURRENCY_SERVICE_ADDR"
cartservice = "CART_SERVICE_ADDR"
checkoutservice = "CHECKOUT_SERVICE_ADDR"

[calls.reviews]
env = { REVIEWS_URL = "{url}/api" }

[env]
LISTEN_ADDR = ""
ENABLE_PROFILER = "0"
""",
    "src/loadgenerator/service.toml": """\
run = 'locust --host="http://${FRONTEND_ADDR}" --headless -u "${USERS:-10}" 2>&1'
port = "none"

[calls.frontend]
env = { FRONTEND_ADDR = "{address}" }

[env]
USERS = "10"
""",
    "src/paymentservice/service.toml": """\
run = "node server.js"
port = "grpc"
health = "grpc"
""",
    "src/productcatalogservice/service.toml": """\
run = "./productcatalogservice"
port = "grpc"

[health]
ready = "grpc"
interval = "10s"

[env]
DISABLE_PROFILER = "1"
""",
    "src/recommendationservice/service.toml": """\
run = "python3 recommendation_server.py"
port = "grpc"
health = "grpc"

[limits]
memory = "450MiB"

[calls]
productcatalogservice = "PRODUCT_CATALOG_SERVICE_ADDR"

[env]
PYTHONUNBUFFERED = "1"
""",
    "src/reviews/service.toml": """\
run = "gunicorn -b {address} app:app"
overlap = false  # writes volume uploads; true when two at a time do no harm

[health]
ready = { http = "/healthz", timeout = "3s" }
interval = "5s"
failures = 5
start_budget = "45s"

[stop]
grace = "30s"

[calls.collector]  # otel/opentelemetry-collector:0.100.0: runs beside Atoll
url = "http://127.0.0.1:4318"
env = "OTEL_EXPORTER_OTLP_ENDPOINT"

[stores]
redis-cart = { env = { CACHE_HOST = "{host}", CACHE_PORT = "{port}" } }  # redis-cart is 127.0.0.1
db = { url = { secret = "database-url" }, type = "postgres", env = "DATABASE_URL" }
""",
    "src/shippingservice/service.toml": """\
run = "./shippingservice"
port = "grpc"
health = "grpc"
""",
}
SHOP_LEFT = """\
reviews: DATABASE_URL holds a secret, which is not copied; in it db:5432 is 127.0.0.1:5433 now -> atoll secret set database-url
reviews: volume uploads was mounted at /data/uploads, and no variable says so -> tell the program {data}, the service's own folder, by variable or argument
cartservice: waited for redis-cart to be healthy; services start on their own here -> it must try again until they answer
redis-cart: image redis:alpine is a store that Atoll does not run; used by REDIS_ADDR of cartservice, CACHE_HOST of reviews -> publish its port in compose.yaml (ports: ["127.0.0.1:6379:6379"]) and `docker compose -f compose.yaml up -d redis-cart`, or run your own there
db: image postgres:16 is a store that Atoll does not run; used by DATABASE_URL of reviews -> `docker compose -f compose.yaml up -d db` runs it at 127.0.0.1:5433, or run your own there
collector: image otel/opentelemetry-collector:0.100.0 is a service that Atoll does not run; used by OTEL_EXPORTER_OTLP_ENDPOINT of reviews -> if it is needed: publish its port and `docker compose -f compose.yaml up -d collector`
"""


def test_a_polyglot_shop_is_adopted_to_the_letter(adopt) -> None:
    done = adopt(shop(), profiles=["load"])
    assert done.files == SHOP_FILES
    assert done.left == SHOP_LEFT.splitlines()
