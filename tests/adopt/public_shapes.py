"""Repositories in the shape of well-known public ones: their structure only (names, keys, ports, conditions), no code of theirs.

Each is a dict of files. `docs/howto/adopt.md` has the table of what came out of them.
"""

import json

PACKAGE = json.dumps


def voting() -> dict[str, str]:
    """dockersamples/example-voting-app: Flask, Express, a .NET worker; health checks, conditions, a seed profile."""
    return {
        "docker-compose.yml": """\
services:
  vote:
    build: { context: ./vote, target: dev }
    depends_on: { redis: { condition: service_healthy } }
    healthcheck:
      test: ["CMD", "curl", "-f", "http://localhost"]
      interval: 15s
      timeout: 5s
      retries: 3
      start_period: 10s
    volumes: ["./vote:/usr/local/app"]
    ports: ["8080:80"]
    networks: [front-tier, back-tier]
  result:
    build: ./result
    entrypoint: nodemon --inspect=0.0.0.0 server.js
    depends_on: { db: { condition: service_healthy } }
    volumes: ["./result:/usr/local/app"]
    ports: ["8081:80", "127.0.0.1:9229:9229"]
    networks: [front-tier, back-tier]
  worker:
    build: { context: ./worker }
    depends_on: { redis: { condition: service_healthy }, db: { condition: service_healthy } }
    networks: [back-tier]
  redis:
    image: redis:alpine
    volumes: ["./healthchecks:/healthchecks"]
    healthcheck: { test: /healthchecks/redis.sh, interval: 5s }
    networks: [back-tier]
  db:
    image: postgres:15-alpine
    environment: { POSTGRES_USER: postgres, POSTGRES_PASSWORD: postgres }
    volumes: ["db-data:/var/lib/postgresql/data"]
    networks: [back-tier]
  seed:
    build: ./seed-data
    profiles: [seed]
    depends_on: { vote: { condition: service_healthy } }
    networks: [front-tier]
    restart: "no"
volumes: { db-data: }
networks: { front-tier: , back-tier: }
""",
        "vote/Dockerfile": 'FROM python:3.11-slim AS base\nWORKDIR /usr/local/app\nCOPY requirements.txt .\nRUN pip install -r requirements.txt\n\nFROM base AS dev\nENV FLASK_ENV=development\nCMD ["python", "app.py"]\n\nFROM base AS final\nCOPY . .\nEXPOSE 80\nCMD ["gunicorn", "app:app", "-b", "0.0.0.0:80", "--workers", "4"]\n',
        "vote/requirements.txt": "Flask\nRedis\ngunicorn\n",
        "vote/app.py": "from flask import Flask\n\napp = Flask(__name__)\n\nif __name__ == '__main__':\n    app.run(host='0.0.0.0', port=80)\n",
        "result/Dockerfile": "FROM node:18-slim\nWORKDIR /usr/local/app\nCOPY . .\nENV PORT=80\nEXPOSE 80\nCMD node server.js\n",
        "result/package.json": PACKAGE({"dependencies": {"express": "4", "pg": "8"}, "scripts": {"test": "x"}}),
        "result/server.js": "var port = process.env.PORT || 4000;\nserver.listen(port, ok);\n",
        "worker/Dockerfile": 'FROM dotnet/sdk:7.0 AS build\nWORKDIR /source\n\nFROM dotnet/runtime:7.0\nWORKDIR /app\nCOPY --from=build /app .\nENTRYPOINT ["dotnet", "Worker.dll"]\n',
        "worker/Worker.csproj": '<Project Sdk="Microsoft.NET.Sdk"><PropertyGroup><OutputType>Exe</OutputType></PropertyGroup></Project>',
        "worker/Program.cs": "// works\n",
        "seed-data/Dockerfile": "FROM python:3.9-slim\nWORKDIR /seed\nCOPY . .\nRUN python make-data.py\nCMD /seed/generate-votes.sh\n",
        "seed-data/make-data.py": "print('votes')\n",
        "seed-data/generate-votes.sh": "ab -n 1000 http://vote/\n",
    }


def petclinic() -> dict[str, str]:
    """spring-petclinic-microservices: Maven modules; the Compose file names only images that are built from them."""
    names = ("config-server", "discovery-server", "customers-service", "visits-service", "api-gateway")
    ports = dict(zip(names, (8888, 8761, 8081, 8082, 8080), strict=True))
    lines = ["services:"]
    for name in names:
        lines += [f"  {name}:", f"    image: acmecommunity/spring-petclinic-{name}", f"    container_name: {name}"]
        lines += ["    deploy: { resources: { limits: { memory: 512M } } }"]
        if name == "config-server":
            lines += ['    healthcheck: { test: ["CMD", "curl", "-I", "http://config-server:8888"], interval: 5s,']
            lines += ["      timeout: 5s, retries: 10 }"]
        else:
            lines += ["    depends_on: { config-server: { condition: service_healthy } }"]
        lines += [f"    ports: ['{ports[name]}:{ports[name]}']"]
    lines += ["  tracing-server:", "    image: openzipkin/zipkin", "    ports: ['9411:9411']"]
    lines += ["  grafana-server:", "    build: ./docker/grafana", "    ports: ['3030:3030']"]
    parent = "<parent><groupId>x</groupId><artifactId>petclinic</artifactId><version>3.4.1</version></parent>"
    plugin = "<build><plugins><plugin><artifactId>spring-boot-maven-plugin</artifactId></plugin></plugins></build>"
    modules = "".join(f"<module>spring-petclinic-{name}</module>" for name in names)
    files = {
        "docker-compose.yml": "\n".join(lines) + "\n",
        "pom.xml": f"<project><artifactId>petclinic</artifactId><version>3.4.1</version><modules>{modules}</modules></project>",
        "mvnw": "#!/bin/sh\n",
        "docker/grafana/Dockerfile": "FROM grafana/grafana:5.2.4\nADD ./provisioning /etc/grafana/provisioning\n",
        "docker/Dockerfile": 'FROM eclipse-temurin:17\nARG ARTIFACT_NAME\nEXPOSE 8080\nENTRYPOINT ["java", "-jar", "app.jar"]\n',
    }
    kinds = {
        "config-server": "spring-cloud-config-server",
        "discovery-server": "spring-cloud-starter-netflix-eureka-server",
    }
    for name in names:
        kind = kinds.get(name, "spring-boot-starter-web")
        needs = f"<dependency><artifactId>{kind}</artifactId></dependency><dependency><artifactId>spring-boot-starter-actuator</artifactId></dependency>"
        files[f"spring-petclinic-{name}/pom.xml"] = (
            f"<project>{parent}<artifactId>spring-petclinic-{name}</artifactId><dependencies>{needs}</dependencies>{plugin}</project>"
        )
        files[f"spring-petclinic-{name}/src/main/java/App.java"] = (
            "@SpringBootApplication class App { void m() { SpringApplication.run(); } }"
        )
    return files


def astronomy() -> dict[str, str]:
    """open-telemetry/opentelemetry-demo: everything by .env, whose values refer to each other; Dockerfiles in src/*."""
    env = """\
IMAGE_NAME=ghcr.io/acme/demo
COLLECTOR_HOST=otel-collector
COLLECTOR_PORT=4317
OTEL_EXPORTER_OTLP_ENDPOINT=http://${COLLECTOR_HOST}:${COLLECTOR_PORT}
OTEL_RESOURCE_ATTRIBUTES=service.namespace=demo
AD_PORT=9555
AD_ADDR=ad:${AD_PORT}
AD_DOCKERFILE=./src/ad/Dockerfile
CHECKOUT_PORT=5050
CHECKOUT_ADDR=checkout:${CHECKOUT_PORT}
CHECKOUT_DOCKERFILE=./src/checkout/Dockerfile
CURRENCY_PORT=7001
CURRENCY_ADDR=currency:${CURRENCY_PORT}
CURRENCY_DOCKERFILE=./src/currency/Dockerfile
FRONTEND_PORT=8080
FRONTEND_ADDR=frontend:${FRONTEND_PORT}
FRONTEND_DOCKERFILE=./src/frontend/Dockerfile
FRONTEND_PROXY_DOCKERFILE=./src/frontend-proxy/Dockerfile
ENVOY_PORT=8080
PAYMENT_PORT=50051
PAYMENT_ADDR=payment:${PAYMENT_PORT}
PAYMENT_DOCKERFILE=./src/payment/Dockerfile
QUOTE_PORT=8090
QUOTE_ADDR=http://quote:${QUOTE_PORT}
QUOTE_DOCKERFILE=./src/quote/Dockerfile
SHIPPING_PORT=50050
SHIPPING_ADDR=http://shipping:${SHIPPING_PORT}
SHIPPING_DOCKERFILE=./src/shipping/Dockerfile
VALKEY_ADDR=valkey-cart:6379
"""

    def service(name: str, environment: str, more: str = "", port: bool = True) -> str:
        upper = name.upper().replace("-", "_")
        return (
            f"  {name}:\n    image: ${{IMAGE_NAME}}-{name}\n    container_name: {name}\n"
            f"    build: {{ context: ./, dockerfile: '${{{upper}_DOCKERFILE}}', cache_from: ['${{IMAGE_NAME}}-{name}'] }}\n"
            "    deploy: { resources: { limits: { memory: 120M } } }\n    restart: unless-stopped\n"
            + (f"    ports: ['${{{upper}_PORT}}']\n" if port else "")
            + f"    environment: [{environment}, OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME={name}]\n{more}"
            "    logging: *logging\n"
        )

    compose = (
        "x-default-logging: &logging { driver: json-file, options: { max-size: 5m } }\n"
        "networks: { default: { name: demo, driver: bridge } }\nservices:\n"
        + service("ad", "AD_PORT")
        + service(
            "checkout",
            "CHECKOUT_PORT, CURRENCY_ADDR, PAYMENT_ADDR, SHIPPING_ADDR",
            "    depends_on: { kafka: { condition: service_healthy } }\n",
        )
        + service("currency", "CURRENCY_PORT")
        + service(
            "frontend",
            "'PORT=${FRONTEND_PORT}', FRONTEND_ADDR, AD_ADDR, CHECKOUT_ADDR, CURRENCY_ADDR, SHIPPING_ADDR, OTEL_RESOURCE_ATTRIBUTES",
            "    depends_on: { ad: { condition: service_started } }\n",
        )
        + service("frontend-proxy", "ENVOY_PORT", port=False).replace(
            "restart: unless-stopped\n",
            "restart: unless-stopped\n    ports: ['${ENVOY_PORT}:${ENVOY_PORT}', '10000:10000']\n",
        )
        + service("payment", "PAYMENT_PORT")
        + service("quote", "QUOTE_PORT")
        + service("shipping", "SHIPPING_PORT, QUOTE_ADDR")
        + "  valkey-cart: { image: 'valkey/valkey:8', user: valkey, ports: ['6379'] }\n"
        "  kafka: { image: 'acme/kafka-demo', healthcheck: { test: nc -z kafka 9092, start_period: 10s } }\n"
        "  otel-collector: { image: 'otel/opentelemetry-collector', ports: ['4317', '4318'] }\n"
    )
    go = 'package main\n\nimport (\n\t"os"\n\t"google.golang.org/grpc"\n\thealthpb "google.golang.org/grpc/health/grpc_health_v1"\n)\n\nfunc main() {\n\tmustMapEnv(&port, "CHECKOUT_PORT")\n\tsrv := grpc.NewServer()\n\thealthpb.RegisterHealthServer(srv, h)\n}\n'
    return {
        "docker-compose.yml": compose,
        ".env": env,
        "src/ad/build.gradle": "plugins {\n  id 'java'\n  id 'application'\n}\ndependencies { implementation 'io.grpc:grpc-netty:1' }\nmainClassName = 'acme.AdService'\n",
        "src/ad/settings.gradle": "rootProject.name = 'ad'\n",
        "src/ad/gradlew": "#!/bin/sh\n",
        "src/ad/src/main/java/acme/AdService.java": 'class AdService { public static void main(String[] a) { System.getenv("AD_PORT"); ServerBuilder.forPort(1); new HealthStatusManager(); } }',
        "src/ad/Dockerfile": 'FROM eclipse-temurin:21 AS builder\nFROM eclipse-temurin:21\nEXPOSE ${AD_PORT}\nENTRYPOINT [ "./build/install/ad/bin/Ad" ]\n',
        "src/checkout/go.mod": "module acme/checkout\n",
        "src/checkout/main.go": go,
        "src/checkout/Dockerfile": 'FROM golang:1.22 AS builder\nFROM alpine\nWORKDIR /usr/src/app\nEXPOSE ${CHECKOUT_PORT}\nENTRYPOINT [ "./checkout" ]\n',
        "src/currency/CMakeLists.txt": "project(currency)\n",
        "src/currency/Dockerfile": 'FROM alpine AS builder\nRUN cmake .\nFROM alpine\nEXPOSE ${CURRENCY_PORT}\nENTRYPOINT ["sh", "-c", "./usr/local/bin/currency ${CURRENCY_PORT}"]\n',
        "src/frontend/package.json": PACKAGE(
            {
                "scripts": {
                    "dev": "next dev",
                    "build": "next build",
                    "start": "node --require ./Instrumentation.js server.js",
                },
                "dependencies": {"next": "14", "@grpc/grpc-js": "1"},
            }
        ),
        "src/frontend/Dockerfile": 'FROM node:20 AS builder\nFROM node:20\nWORKDIR /app\nENV PORT=8080\nEXPOSE ${PORT}\nENTRYPOINT ["npm", "start"]\n',
        "src/frontend-proxy/Dockerfile": 'FROM envoyproxy/envoy:v1.30\nRUN apt-get install gettext\nENTRYPOINT ["/bin/sh", "-c", "envsubst < envoy.tmpl > envoy.yaml && envoy -c envoy.yaml;"]\n',
        "src/payment/package.json": PACKAGE(
            {
                "scripts": {"start": "node --require ./opentelemetry.js index.js"},
                "dependencies": {"@grpc/grpc-js": "1", "grpc-js-health-check": "1"},
            }
        ),
        "src/payment/index.js": "const server = new grpc.Server();\nserver.addService(health.service, {});\nserver.bindAsync(`0.0.0.0:${process.env['PAYMENT_PORT']}`, c, ok);\n",
        "src/payment/Dockerfile": 'FROM node:20\nWORKDIR /usr/src/app\nEXPOSE ${PAYMENT_PORT}\nENTRYPOINT [ "npm", "run", "start" ]\n',
        "src/quote/composer.json": PACKAGE({"require": {"slim/slim": "^4"}}),
        "src/quote/public/index.php": "<?php\n$address = getenv('QUOTE_PORT');\n",
        "src/quote/Dockerfile": 'FROM php:8.3-cli AS base\nFROM base AS final\nWORKDIR /var/www\nEXPOSE ${QUOTE_PORT}\nCMD ["php", "public/index.php"]\n',
        "src/shipping/Cargo.toml": '[package]\nname = "shipping"\nversion = "0.1.0"\n[dependencies]\nactix-web = "4"\n',
        "src/shipping/src/main.rs": 'let port = env::var("SHIPPING_PORT");\nApp::new().route("/health", web::get().to(health))\n',
        "src/shipping/Dockerfile": 'FROM rust:1.76 AS builder\nFROM debian:bookworm-slim\nWORKDIR /app\nEXPOSE ${SHIPPING_PORT}\nENTRYPOINT ["/app/shipping"]\n',
    }


def eshop() -> dict[str, str]:
    """dotnet-architecture/eShopOnContainers: ports and variables in docker-compose.override.yml; HTTP and gRPC of one service."""
    web = '<Project Sdk="Microsoft.NET.Sdk.Web"><ItemGroup>{0}</ItemGroup></Project>'
    grpc = '<PackageReference Include="Grpc.AspNetCore" />'
    shared = '<ProjectReference Include="..\\..\\..\\BuildingBlocks\\EventBus\\EventBus.csproj" />'
    image = 'FROM mcr.example.com/dotnet/aspnet:7.0 AS base\nWORKDIR /app\nEXPOSE 80\n\nFROM mcr.example.com/dotnet/sdk:7.0 AS build\nWORKDIR /src\n\nFROM base AS final\nCOPY --from=build /app .\nENTRYPOINT ["dotnet", "{0}.dll"]\n'
    files = {
        "docker-compose.yml": """\
version: '3.4'
services:
  sqldata: { image: 'mcr.example.com/mssql/server:2019-latest' }
  basketdata: { image: 'redis:alpine' }
  rabbitmq: { image: 'rabbitmq:3-management-alpine' }
  identity-api:
    image: ${REGISTRY:-eshop}/identity.api:${PLATFORM:-linux}-${TAG:-latest}
    build: { context: ., dockerfile: Services/Identity/Identity.API/Dockerfile }
    depends_on: [sqldata]
  basket-api:
    image: ${REGISTRY:-eshop}/basket.api:${PLATFORM:-linux}-${TAG:-latest}
    build: { context: ., dockerfile: Services/Basket/Basket.API/Dockerfile }
    depends_on: [basketdata, identity-api, rabbitmq]
  ordering-backgroundtasks:
    image: ${REGISTRY:-eshop}/ordering.backgroundtasks:${PLATFORM:-linux}-${TAG:-latest}
    build: { context: ., dockerfile: Services/Ordering/Ordering.BackgroundTasks/Dockerfile }
    depends_on: [sqldata, rabbitmq]
  webshoppingagg:
    image: ${REGISTRY:-eshop}/webshoppingagg:${PLATFORM:-linux}-${TAG:-latest}
    build: { context: ., dockerfile: ApiGateways/Web.Bff.Shopping/aggregator/Dockerfile }
    depends_on: [identity-api, basket-api]
  webmvc:
    image: ${REGISTRY:-eshop}/webmvc:${PLATFORM:-linux}-${TAG:-latest}
    build: { context: ., dockerfile: Web/WebMVC/Dockerfile }
    depends_on: [webshoppingagg]
  mobileshoppingapigw: { image: 'envoyproxy/envoy:v1.11.1' }
""",
        "docker-compose.override.yml": """\
version: '3.4'
services:
  sqldata:
    environment: [SA_PASSWORD=Pass@word, ACCEPT_EULA=Y]
    ports: ["5433:1433"]
    volumes: ["eshop-sqldata:/var/opt/mssql"]
  basketdata: { ports: ["6379:6379"] }
  rabbitmq: { ports: ["15672:15672", "5672:5672"] }
  identity-api:
    environment:
      - ASPNETCORE_ENVIRONMENT=Development
      - ASPNETCORE_URLS=http://0.0.0.0:80
      - ConnectionStrings__IdentityDb=${AZURE_IDENTITY_DB:-Server=sqldata;Database=IdentityDb;User Id=sa;Password=Pass@word}
      - ApplicationInsights__InstrumentationKey=${INSTRUMENTATION_KEY}
    ports: ["5105:80"]
  basket-api:
    environment:
      - ASPNETCORE_ENVIRONMENT=Development
      - Kestrel__Endpoints__HTTP__Url=http://0.0.0.0:80
      - Kestrel__Endpoints__GRPC__Url=http://0.0.0.0:81
      - ConnectionStrings__Redis=${AZURE_REDIS:-basketdata}
      - ConnectionStrings__EventBus=${AZURE_SERVICE_BUS:-rabbitmq}
      - Identity__Url=http://identity-api
      - EventBus__Password=${SERVICE_BUS_PASSWORD}
    ports: ["5103:80", "9103:81"]
  ordering-backgroundtasks:
    environment: [ASPNETCORE_URLS=http://0.0.0.0:80, "ConnectionStrings__EventBus=${AZURE_SERVICE_BUS:-rabbitmq}"]
    ports: ["5111:80"]
  webshoppingagg:
    environment:
      - urls__identity=http://identity-api
      - urls__grpcBasket=http://basket-api:81
      - BasketUrlHC=http://basket-api/hc
    ports: ["5121:80"]
  webmvc:
    environment: [ASPNETCORE_URLS=http://0.0.0.0:80, PurchaseUrl=http://webshoppingagg]
    ports: ["5100:80"]
volumes: { eshop-sqldata: { external: false } }
""",
        "BuildingBlocks/EventBus/EventBus.csproj": '<Project Sdk="Microsoft.NET.Sdk"></Project>',
    }
    projects = {
        "Services/Identity/Identity.API": ("Identity.API", ""),
        "Services/Basket/Basket.API": ("Basket.API", grpc + shared),
        "Services/Ordering/Ordering.BackgroundTasks": ("Ordering.BackgroundTasks", shared),
        "ApiGateways/Web.Bff.Shopping/aggregator": ("Web.Shopping.HttpAggregator", ""),
        "Web/WebMVC": ("WebMVC", ""),
    }
    for folder, (name, needs) in projects.items():
        files[f"{folder}/{name}.csproj"] = web.format(needs)
        files[f"{folder}/Program.cs"] = 'app.MapHealthChecks("/hc");\napp.MapHealthChecks("/liveness");\n'
        files[f"{folder}/Dockerfile"] = image.format(name)
    return files


def mastodon() -> dict[str, str]:
    """mastodon/mastodon: one Rails image for web and Sidekiq, a Node.js one for streaming; images only, bind mounts as data."""
    return {
        "docker-compose.yml": """\
services:
  db:
    image: postgres:14-alpine
    shm_size: 256mb
    networks: [internal_network]
    healthcheck: { test: ['CMD', 'pg_isready', '-U', 'postgres'] }
    volumes: ['./postgres14:/var/lib/postgresql/data']
  redis:
    image: redis:7-alpine
    networks: [internal_network]
  web:
    image: ghcr.io/mastodon/mastodon:v4.3.17
    restart: always
    env_file: .env.production
    command: bundle exec puma -C config/puma.rb
    networks: [external_network, internal_network]
    healthcheck: { test: ['CMD-SHELL', "curl -s --noproxy localhost localhost:3000/health | grep -q 'OK' || exit 1"] }
    ports: ['127.0.0.1:3000:3000']
    depends_on: [db, redis]
    volumes: ['./public/system:/mastodon/public/system']
  streaming:
    image: ghcr.io/mastodon/mastodon-streaming:v4.3.17
    restart: always
    env_file: .env.production
    command: node ./streaming/index.js
    healthcheck: { test: ['CMD-SHELL', "curl -s localhost:4000/api/v1/streaming/health | grep -q 'OK' || exit 1"] }
    ports: ['127.0.0.1:4000:4000']
    depends_on: [db, redis]
  sidekiq:
    image: ghcr.io/mastodon/mastodon:v4.3.17
    restart: always
    env_file: .env.production
    command: bundle exec sidekiq
    depends_on: [db, redis]
    volumes: ['./public/system:/mastodon/public/system']
    healthcheck: { test: ['CMD-SHELL', "ps aux | grep '[s]idekiq 6' || false"] }
networks: { external_network: , internal_network: { internal: true } }
""",
        ".env.production": "LOCAL_DOMAIN=example.com\nREDIS_HOST=redis\nREDIS_PORT=6379\nDB_HOST=db\nDB_USER=postgres\nDB_PASS=\nDB_PORT=5432\nSECRET_KEY_BASE=abc\n",
        "Procfile": "web: bundle exec puma -C config/puma.rb\nworker: bundle exec sidekiq\n",
        "Gemfile": "source 'https://rubygems.org'\ngem 'rails'\ngem 'puma'\ngem 'sidekiq'\n",
        "config/routes.rb": "get 'health', to: 'health#show'\n",
        "config/puma.rb": "port ENV.fetch('PORT') { 3000 }, ENV.fetch('BIND', '127.0.0.1')\n",
        "Dockerfile": 'FROM ruby:3.3 AS ruby\nWORKDIR /opt/mastodon\nENTRYPOINT ["/usr/bin/tini", "--"]\nEXPOSE 3000 4000\n',
        "package.json": PACKAGE(
            {
                "name": "@mastodon/mastodon",
                "private": True,
                "workspaces": [".", "streaming"],
                "scripts": {"build": "vite build", "start": "node ./streaming/index.js"},
                "dependencies": {"react": "18"},
            }
        ),
        "yarn.lock": "",
        "streaming/package.json": PACKAGE(
            {
                "name": "@mastodon/streaming",
                "scripts": {"start": "node ./index.js"},
                "dependencies": {"express": "4", "pg": "8", "ws": "8"},
            }
        ),
        "streaming/index.js": "const PORT = process.env.PORT || 4000;\napp.get('/api/v1/streaming/health', ok);\nserver.listen(PORT);\n",
        "streaming/Dockerfile": 'FROM node:20 AS streaming\nWORKDIR /opt/mastodon\nEXPOSE 4000\nCMD [ "node", "./streaming/index.js" ]\n',
    }


def hotel() -> dict[str, str]:
    """delimitrou/DeathStarBench hotelReservation: one Go build for all services, told apart by their entrypoint."""
    names = ("frontend", "profile", "search", "geo")
    compose = "services:\n  consul: { image: 'hashicorp/consul:latest', ports: ['8500:8500', '8600:53/udp'] }\n"
    for name in names:
        compose += (
            f"  {name}:\n    build: .\n    image: hotel_{name}\n    entrypoint: {name}\n    container_name: hotel_{name}\n"
            "    environment: [TLS, GC, LOG_LEVEL]\n    restart: always\n    depends_on: [consul]\n"
        )
        if name == "frontend":
            compose += "    ports: ['5000:5000']\n"
    compose += (
        "  mongodb-geo: { image: 'mongo:4.4.6', hostname: geo-db, volumes: ['geo:/data/db'] }\nvolumes: { geo: }\n"
    )
    files = {
        "docker-compose.yml": compose,
        "go.mod": "module example.com/hotel\n",
        "Dockerfile": "FROM golang:1.21 AS builder\nRUN go install ./cmd/...\nFROM gcr.io/distroless/static\nWORKDIR /workspace\n",
        "config.json": PACKAGE({"consulAddress": "consul:8500", "FrontendPort": "5000"}),
        "services/frontend/server.go": 'package frontend\n\nfunc Run() { http.ListenAndServe(":5000", nil) }\n',
    }
    for name in names:
        package = f'"example.com/hotel/services/{name}"'
        files[f"cmd/{name}/main.go"] = f"package main\n\nimport {package}\n\nfunc main() {{ {name}.Run() }}\n"
        if name != "frontend":
            files[f"services/{name}/server.go"] = f"package {name}\n\nfunc Run() {{ grpc.NewServer() }}\n"
    return files


SHAPES = {
    "voting": voting,
    "petclinic": petclinic,
    "astronomy": astronomy,
    "eshop": eshop,
    "mastodon": mastodon,
    "hotel": hotel,
}
