"""Languages and frameworks beside the large layouts: what each service's file says."""

import json

PACKAGE = json.dumps


def test_packages_of_a_workspace_of_yarn_are_built_before_what_needs_them(adopt) -> None:
    done = adopt(
        {
            "package.json": PACKAGE({"private": True, "workspaces": ["apps/*", "packages/*"]}),
            "yarn.lock": "",
            "apps/api/package.json": PACKAGE({"scripts": {"start": "node ."}, "dependencies": {"koa": "2", "db": "*"}}),
            "packages/db/package.json": PACKAGE(
                {"name": "db", "scripts": {"build": "tsc"}, "dependencies": {"types": "*"}}
            ),
            "packages/types/package.json": PACKAGE(
                {"name": "types", "scripts": {"build": "tsc"}, "dependencies": {"db": "*"}}
            ),
        }
    )
    steps = ["yarn install --frozen-lockfile", "yarn --cwd packages/types build", "yarn --cwd packages/db build"]
    assert [step.shell for step in done.workspace.services["api"].build.steps] == steps


def test_a_workspace_of_cargo_builds_each_program_by_itself(adopt) -> None:
    package = '[package]\nname = "{0}"\n[dependencies]\n{1} = "1"\n'
    done = adopt(
        {
            "Cargo.toml": '[workspace]\nmembers = ["crates/*"]\n',
            "Cargo.lock": "",
            "crates/api/Cargo.toml": package.format("api", "axum"),
            "crates/api/src/main.rs": 'let port = std::env::var("PORT"); Router::new().route("/healthz", get(ok))',
            "crates/greeter/Cargo.toml": package.format("greeter-server", "tonic"),
            "crates/greeter/src/main.rs": 'std::env::var("LISTEN_ADDR")',
            "crates/core/Cargo.toml": package.format("core", "serde"),
            "crates/core/src/lib.rs": "",
        }
    )
    assert done.service("api") == (
        'run = "./api"\nhealth = "/healthz"  # found in crates/api/src/main.rs\nroute = "/"\n\n[build]\ncontext = "../.."\n'
    )
    assert done.service("greeter") == (
        'run = "./greeter"\nport = "grpc"\nhealth = "tcp"\n\n[build]\ncontext = "../.."\n'
        '\n[env]\nLISTEN_ADDR = "{address}"\n'
    )
    assert sorted(done.workspace.services) == ["api", "greeter"]


def test_gradle_laravel_and_fastapi_stand_beside_each_other(adopt) -> None:
    boot = 'plugins { id("org.springframework.boot") version "3.3.0" }\n// spring-boot-starter-web'
    done = adopt(
        {
            "settings.gradle.kts": 'rootProject.name = "shop"\ninclude(":orders", ":common")\n',
            "build.gradle.kts": "",
            "gradlew": "",
            "orders/build.gradle.kts": boot,
            "orders/src/main/kotlin/App.kt": "@SpringBootApplication\nclass App\nfun main() { runApplication<App>() }",
            "common/build.gradle.kts": 'plugins { id("java-library") }',
            "shop/composer.json": PACKAGE({"require": {"laravel/framework": "^11"}}),
            "shop/bootstrap/app.php": "health: '/up',",
            "py/pyproject.toml": '[project]\nname = "py"\nversion = "1"\ndependencies = ["fastapi[standard]"]\n',
            "py/src/py/app.py": "api: FastAPI = FastAPI()\n\n@api.get('/ready')\ndef ready(): ...\n",
        }
    )
    services = done.workspace.services
    assert sorted(services) == ["orders", "py", "shop"]
    assert services["orders"].run.text == "exec java -jar orders/build/libs/*.jar --server.port={port}"
    assert [step.shell for step in services["orders"].build.steps] == ["./gradlew --no-daemon :orders:bootJar"]
    assert services["py"].run.text == "uvicorn py.app:api --host {host} --port {port}"
    assert services["py"].health.ready.path == "/ready"
    assert services["shop"].run.text == "php artisan serve --host={host} --port={port}"
    assert services["shop"].health.ready.path == "/up"


def test_names_that_meet_are_told_apart(adopt) -> None:
    package = PACKAGE({"scripts": {"start": "node ."}, "dependencies": {"koa": "2"}})
    done = adopt({"eu/api/package.json": package, "us/api/package.json": package, "9 Lives!/package.json": package})
    assert sorted(done.workspace.services) == ["api", "s-9-lives", "us-api"]


def test_two_builders_in_one_folder_are_told_apart_by_name(adopt) -> None:
    done = adopt(
        {
            "app.py": "app = Flask(__name__)",
            "requirements.txt": "flask",
            "package.json": PACKAGE({"scripts": {"build": "vite"}}),
        }
    )
    assert done.workspace.services["repo"].build.builder == "python"


def test_a_renamed_go_program_follows_its_service(adopt) -> None:
    main = 'package main\n\nfunc main() { http.ListenAndServe(":"+os.Getenv("PORT"), nil) }\n'
    compose = "services:\n  shop: {build: {context: ., dockerfile: cmd/web/Dockerfile}}\n  jobs: {build: one}\n"
    files = {
        "compose.yaml": compose,
        "go.mod": "module x\n",
        "cmd/web/main.go": main,
        "cmd/web/Dockerfile": "FROM scratch\nEXPOSE 80\nCMD /web",
    }
    done = adopt(
        {
            **files,
            "cmd/other/main.go": main,
            "one/go.mod": "module one\n",
            "one/main.go": main,
            "one/Dockerfile": 'FROM x\nCMD ["/one"]\n',
        }
    )
    shop, jobs = done.workspace.services["shop"], done.workspace.services["jobs"]
    assert (shop.run.text, [step.shell for step in shop.build.steps]) == ("./shop", ["go build -o shop ./cmd/web"])
    assert (jobs.run.text, jobs.build.steps) == ("./jobs", ())


def test_frameworks_that_read_a_port_by_themselves_are_told_it_their_way(adopt) -> None:
    done = adopt(
        {
            "gin/go.mod": "module x/gin\n",
            "gin/main.go": "package main\n\nfunc main() {\n\tr := gin.Default()\n\tr.Run()\n}\n",
            "rocket/Cargo.toml": '[package]\nname = "rocket-api"\n[dependencies]\nrocket = "0.5"\n',
            "rocket/src/main.rs": "#[launch] fn rocket() -> _ { rocket::build() }",
            "sinatra/Gemfile": "gem 'sinatra'\n",
            "sinatra/app.rb": "require 'sinatra'\nget '/healthz' do\nend\n",
            "next/package.json": PACKAGE({"dependencies": {"next": "15"}, "scripts": {"start": "next start -p 3000"}}),
            "micronaut/build.gradle": "plugins { id('io.micronaut.application') version '4' }\napplication { mainClass = 'x.App' }\n"
            "dependencies { implementation('io.micronaut:micronaut-management') }",
            "micronaut/src/main/java/x/App.java": "class App { public static void main(String[] a) { Micronaut.run(); } }",
        }
    )
    told = {name: (spec.run.text, spec.ports[0].env) for name, spec in done.workspace.services.items()}
    assert told == {
        "gin": ("./gin", "PORT"),
        "rocket": ("./rocket", "ROCKET_PORT"),
        "sinatra": ("bundle exec ruby app.rb -o {host} -p {port}", "PORT"),
        "next": ("next start -H {host} -p {port}", "PORT"),
        "micronaut": ("java x.App", "MICRONAUT_SERVER_PORT"),
    }
    assert done.workspace.services["micronaut"].health.ready.path == "/health"


def test_members_of_a_workspace_that_need_each_other_are_built_from_its_top(adopt) -> None:
    project = '[project]\nname = "{0}"\nversion = "1"\n'
    done = adopt(
        {
            "go.work": "go 1.22\n\nuse (\n\t./go/api\n\t./go/alone\n\t./go/lib\n)\n",
            "go/api/go.mod": "module x/api\n\nrequire x/lib v0.0.0\n",
            "go/api/main.go": 'package main\n\nfunc main() { http.ListenAndServe(":"+os.Getenv("PORT"), nil) }\n',
            "go/alone/go.mod": "module x/alone\n",
            "go/alone/main.go": "package main\n\nfunc main() {}\n",
            "go/lib/go.mod": "module x/lib\n",
            "go/replaced/go.mod": "module y\n\nrequire x/lib v0.0.0\n\nreplace x/lib => ../../libs/other\n",
            "go/replaced/main.go": "package main\n\nfunc main() {}\n",
            "libs/other/go.mod": "module x/lib\n",
            "pyproject.toml": project.format("top") + '[tool.uv.workspace]\nmembers = ["py/*"]\n',
            "uv.lock": "",
            "py/web/pyproject.toml": project.format("web")
            + 'dependencies = ["fastapi", "uvicorn", "shared"]\n[tool.uv.sources]\nshared = { workspace = true }\n',
            "py/web/src/web/main.py": "app = FastAPI()\n",
            "py/shared/pyproject.toml": project.format("shared"),
        }
    )
    services = done.workspace.services
    built = {name: (spec.build.context, [step.shell for step in spec.build.steps]) for name, spec in services.items()}
    assert built == {
        "api": ("../..", []),
        "alone": (".", []),
        "web": ("../..", []),
        "replaced": ("../..", []),
    }
    assert {name: spec.workdir for name, spec in services.items()} == {
        "api": "go/api",
        "alone": ".",
        "web": "py/web",
        "replaced": "go/replaced",
    }
    assert services["web"].run.text == "uvicorn web.main:app --host {host} --port {port}"
