"""A polyglot shop of twelve services behind one compose.yaml, in the shape of the well-known demonstration shops."""

from pathlib import Path

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


def test_show(adopt) -> None:
    done = adopt(shop(), profiles=["load"])
    for name, text in done.files.items():
        print("-----", name)
        print(text)
    print("\n".join(done.left))
