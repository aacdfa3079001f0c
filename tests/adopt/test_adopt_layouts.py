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


import pytest


@pytest.mark.parametrize("make", [pnpm, go, procfile, django, spring])
def test_show(adopt, make) -> None:
    done = adopt(make())
    print("=================", make.__name__)
    for name, text in done.files.items():
        print("-----", name)
        print(text)
    print("\n".join(done.left))
