"""Repositories without a Compose file: monorepos, a Procfile, Django with workers, Spring Boot with modules."""

import json

PACKAGE = json.dumps


def pnpm() -> dict[str, str]:
    return {
        "package.json": PACKAGE({"private": True, "scripts": {"dev": "turbo dev"}}),
        "pnpm-workspace.yaml": "packages:\n  - 'apps/*'\n  - 'packages/*'\n",
        "pnpm-lock.yaml": "lockfileVersion: '9.0'\n",
        "apps/web/package.json": PACKAGE(
            {
                "name": "@acme/web",
                "scripts": {"build": "next build", "start": "next start"},
                "dependencies": {"next": "15"},
            }
        ),
        "apps/api/package.json": PACKAGE(
            {
                "name": "@acme/api",
                "scripts": {"build": "nest build", "start": "nest start", "start:prod": "node dist/main"},
                "dependencies": {"@nestjs/core": "10", "@acme/db": "workspace:*"},
            }
        ),
        "apps/api/src/main.ts": "await app.listen(process.env.API_PORT ?? 3001);",
        "apps/api/src/health.controller.ts": "@Controller('health')\nexport class HealthController {}",
        "apps/mailer/package.json": PACKAGE(
            {"name": "@acme/mailer", "scripts": {"start": "node src/index.js"}, "dependencies": {"bullmq": "5"}}
        ),
        "apps/mailer/src/index.js": "new Worker('mail');",
        "packages/db/package.json": PACKAGE({"name": "@acme/db", "scripts": {"build": "tsc"}}),
        "packages/ui/package.json": PACKAGE({"name": "@acme/ui", "dependencies": {"react": "19"}}),
    }


def go() -> dict[str, str]:
    main = 'package main\n\nimport "example.com/shop/internal/{0}"\n\nfunc main() {{ {0}.Run() }}\n'
    return {
        "go.mod": "module example.com/shop\n\ngo 1.22\n",
        "cmd/api/main.go": main.format("api"),
        "cmd/orders-grpc/main.go": main.format("orders"),
        "cmd/reaper/main.go": main.format("reaper"),
        "cmd/migrate/main.go": main.format("api"),
        "internal/api/api.go": 'package api\n\nfunc Run() {\n\thttp.HandleFunc("/healthz", ok)\n\tflag.String("addr", ":8080", "")\n\thttp.ListenAndServe(*addr, nil)\n}\n',
        "internal/orders/orders.go": 'package orders\n\nfunc Run() { _ = os.Getenv("GRPC_PORT"); grpc.NewServer() }\n',
        "internal/reaper/reaper.go": "package reaper\n\nfunc Run() { select {} }\n",
        "internal/api/api_test.go": "package api\n",
        "tools/gen/main.go": "package main\n\nfunc main() {}\n",
    }


def procfile() -> dict[str, str]:
    return {
        "Procfile": "web: bundle exec puma -b tcp://0.0.0.0:$PORT\nworker: bundle exec sidekiq -c 5\n"
        "clock: bundle exec clockwork clock.rb\nrelease: bundle exec rails db:migrate\n",
        "Gemfile": "source 'https://rubygems.org'\ngem 'rails'\ngem 'puma'\ngem 'sidekiq'\n",
        "config/routes.rb": 'get "up" => "rails/health#show"\n',
        "package.json": PACKAGE({"scripts": {"build": "esbuild"}, "devDependencies": {"esbuild": "1"}}),
    }


def django() -> dict[str, str]:
    return {
        "manage.py": "import django\n",
        "requirements.txt": "Django==5.1\ngunicorn\ncelery[redis]==5.4\ndjango-celery-beat\n",
        "mysite/wsgi.py": "application = get_wsgi_application()\n",
        "mysite/celery.py": "app = Celery('mysite')\n",
        "mysite/urls.py": "urlpatterns = [path('healthz/', ok)]\n",
    }


def spring() -> dict[str, str]:
    parent = "<parent><groupId>x</groupId><artifactId>petclinic</artifactId><version>3.2.1</version></parent>"
    plugin = "<build><plugins><plugin><artifactId>spring-boot-maven-plugin</artifactId></plugin></plugins></build>"
    web = "<dependency><artifactId>spring-boot-starter-web</artifactId></dependency>"
    actuator = "<dependency><artifactId>spring-boot-starter-actuator</artifactId></dependency>"
    files = {
        "pom.xml": "<project><artifactId>petclinic</artifactId><version>3.2.1</version><packaging>pom</packaging><modules>"
        "<module>common</module><module>customers-service</module><module>visits-service</module><module>api-gateway"
        "</module></modules></project>",
        "mvnw": "#!/bin/sh\n",
        "common/pom.xml": f"<project>{parent}<artifactId>common</artifactId></project>",
        "customers-service/src/main/resources/application.yml": "server:\n  servlet:\n    context-path: /customers\n",
    }
    for name in ("customers-service", "visits-service", "api-gateway"):
        files[f"{name}/pom.xml"] = (
            f"<project>{parent}<artifactId>petclinic-{name}</artifactId><dependencies>{web}{actuator}</dependencies>{plugin}"
            "</project>"
        )
        files[f"{name}/src/main/java/App.java"] = (
            "@SpringBootApplication class App { void m() { SpringApplication.run(); } }"
        )
    return files


# --- what comes out of it, to the letter --------------------------------------------------------------------------

PNPM_FILES = {
    "atoll.toml": """\
name = "repo"
services = ["apps/*"]
""",
    "apps/api/service.toml": """\
run = "node dist/main"
workdir = "apps/api"
health = "/health"  # found in src/health.controller.ts
# route = { path = "/api", strip = true }  # lets requests from outside in

[build]
context = "../.."

[ports]
http = { env = "API_PORT" }
""",
    "apps/mailer/service.toml": """\
run = "node src/index.js"
workdir = "apps/mailer"
port = "none"

[build]
context = "../.."
""",
    "apps/web/service.toml": """\
run = "next start -H {host} -p {port}"
workdir = "apps/web"
route = "/"  # a guess: one service answers here

[build]
context = "../.."
""",
}
PNPM_LEFT = """\
"""

GO_FILES = {
    "atoll.toml": """\
name = "repo"
services = ["cmd/*"]
""",
    "cmd/api/service.toml": """\
run = "./api -addr {address}"
health = "/healthz"  # found in internal/api/api.go
route = "/"

[build]
context = "../.."
""",
    "cmd/orders-grpc/service.toml": """\
run = "./orders-grpc"
health = "tcp"

[build]
context = "../.."

[ports]
grpc = { protocol = "grpc", env = "GRPC_PORT" }
""",
    "cmd/reaper/service.toml": """\
run = "./reaper"
port = "none"

[build]
context = "../.."
""",
}
GO_LEFT = """\
"""

PROCFILE_FILES = {
    "atoll.toml": """\
name = "repo"
""",
    "service.toml": """\
name = "web"
run = "bundle exec puma -b tcp://{host}:{port}"
build = ["bundle config set --local path vendor/bundle", "bundle install"]
health = "/up"
route = "/"
""",
    "services/clock/service.toml": """\
run = "bundle exec clockwork clock.rb"
port = "none"
overlap = false  # looks like a scheduler; true when two at a time do no harm

[build]
context = "../.."
steps = ["bundle config set --local path vendor/bundle", "bundle install"]
""",
    "services/worker/service.toml": """\
run = "bundle exec sidekiq -c 5"
port = "none"

[build]
context = "../.."
steps = ["bundle config set --local path vendor/bundle", "bundle install"]
""",
}
PROCFILE_LEFT = """\
release: Procfile: `release` is run once, not a service -> run it before a deploy: bundle exec rails db:migrate
"""

DJANGO_FILES = {
    "atoll.toml": """\
name = "repo"
""",
    "service.toml": """\
name = "repo"
run = "gunicorn mysite.wsgi --bind {address}"
health = "/healthz/"  # found in mysite/urls.py
route = "/"
""",
    "services/beat/service.toml": """\
name = "repo-beat"
run = "celery -A mysite beat"
port = "none"
overlap = false  # looks like a scheduler; true when two at a time do no harm

[build]
context = "../.."
""",
    "services/worker/service.toml": """\
name = "repo-worker"
run = "celery -A mysite worker"
port = "none"

[build]
context = "../.."
""",
}
DJANGO_LEFT = """\
"""

SPRING_FILES = {
    "atoll.toml": """\
name = "repo"
""",
    "api-gateway/service.toml": """\
run = "java -jar api-gateway/target/petclinic-api-gateway-3.2.1.jar --server.port={port}"
route = "/"  # a guess: one service answers here

[build]
context = ".."
inputs = ["**", "!customers-service/src", "!visits-service/src"]
steps = "./mvnw -B -q -DskipTests -pl api-gateway -am package"

[health]
ready = "/actuator/health"
start_budget = "2m"
""",
    "customers-service/service.toml": """\
run = "java -jar customers-service/target/petclinic-customers-service-3.2.1.jar --server.port={port}"
# route = { path = "/customers-service", strip = true }  # lets requests from outside in

[build]
context = ".."
inputs = ["**", "!api-gateway/src", "!visits-service/src"]
steps = "./mvnw -B -q -DskipTests -pl customers-service -am package"

[health]
ready = "/customers/actuator/health"
start_budget = "2m"
""",
    "visits-service/service.toml": """\
run = "java -jar visits-service/target/petclinic-visits-service-3.2.1.jar --server.port={port}"
# route = { path = "/visits-service", strip = true }  # lets requests from outside in

[build]
context = ".."
inputs = ["**", "!api-gateway/src", "!customers-service/src"]
steps = "./mvnw -B -q -DskipTests -pl visits-service -am package"

[health]
ready = "/actuator/health"
start_budget = "2m"
""",
}
SPRING_LEFT = """\
"""


def test_a_pnpm_monorepo_is_adopted_to_the_letter(adopt) -> None:
    done = adopt(pnpm())
    assert done.files == PNPM_FILES
    assert done.left == PNPM_LEFT.splitlines()


def test_a_go_monorepo_is_adopted_to_the_letter(adopt) -> None:
    done = adopt(go())
    assert done.files == GO_FILES
    assert done.left == GO_LEFT.splitlines()


def test_a_procfile_is_adopted_to_the_letter(adopt) -> None:
    done = adopt(procfile())
    assert done.files == PROCFILE_FILES
    assert done.left == PROCFILE_LEFT.splitlines()


def test_django_with_workers_is_adopted_to_the_letter(adopt) -> None:
    done = adopt(django())
    assert done.files == DJANGO_FILES
    assert done.left == DJANGO_LEFT.splitlines()


def test_spring_boot_modules_is_adopted_to_the_letter(adopt) -> None:
    done = adopt(spring())
    assert done.files == SPRING_FILES
    assert done.left == SPRING_LEFT.splitlines()
