"""Rust, Ruby, PHP and .NET services: their usual frameworks, with the steps that build them."""

import re
from collections.abc import Iterator

from atoll.adopt.found import Found, below, join, slug, up
from atoll.adopt.sources import any_has, health_path, port_of, texts
from atoll.adopt.tree import Tree, table, words

_SERVERS = frozenset({"axum", "actix-web", "warp", "rocket", "hyper", "poem", "tide", "salvo", "ntex"})


def rust(tree: Tree, folder: str, workspaces: list[str]) -> Iterator[Found]:
    """The program of a Cargo package; `workspaces` are the folders of Cargo workspaces."""
    manifest = join(folder, "Cargo.toml")
    content = tree.toml(manifest)
    name = table(content.get("package")).get("name")
    if not isinstance(name, str) or not tree.has(folder, "src/main.rs"):
        return
    needs = frozenset(table(content.get("dependencies")))
    grpc = "tonic" in needs and not needs & _SERVERS
    found = Found(name=slug(name if folder == "." else tree.base(folder)), folder=folder, source=manifest)
    top = next((each for each in workspaces if each != folder and below(folder, each)), folder)
    found.language, found.run, found.context = "rust", f"./{found.name}", up(folder, top)
    if top != folder:
        found.package = name
    files = texts(tree, (path for path in tree.below(folder) if path.endswith(".rs")))
    if not (grpc or needs & _SERVERS or any_has(files, r"TcpListener")):
        found.protocol = "none"
    elif grpc:
        found.protocol, found.health = "grpc", "grpc" if "tonic-health" in needs else "tcp"
    _learn(found, files)
    yield found


def ruby(tree: Tree, folder: str) -> Iterator[Found]:
    """Rails, or any Rack application; Sidekiq beside it."""
    gemfile = tree.text(join(folder, "Gemfile"))
    gems = frozenset(re.findall(r"^\s*gem\s+[\"']([\w-]+)[\"']", gemfile, re.MULTILINE))
    name = slug(tree.base(folder))
    build = ["bundle config set --local path vendor/bundle", "bundle install"]
    source = join(folder, "Gemfile")
    files = texts(tree, (path for path in tree.below(folder) if path.endswith((".rb", ".ru"))))
    main = Found(name=name, folder=folder, source=source, steps=build)
    if "rails" in gems:
        main.run = "bundle exec rails server -b {host} -p {port}"
        main.health = "/up" if any_has(files, r"rails/health#show") else ""
    elif tree.has(folder, "config.ru"):
        server = "puma -b tcp://{address}" if "puma" in gems else "rackup -o {host} -p {port}"
        main.run = f"bundle exec {server}"
    elif "sinatra" in gems and (program := any_has(files, r"require ['\"]sinatra['\"]")):
        main.run = f"bundle exec ruby {below(program, folder)} -o {{host}} -p {{port}}"
    else:
        return
    if not main.health:
        main.health, where = health_path(files)
        main.notes["health"] = f"found in {where}" if where else ""
    yield main
    if "sidekiq" in gems:
        yield Found(
            name=f"{name}-worker",
            folder=join(folder, "services/worker"),
            source=source,
            run="bundle exec sidekiq",
            steps=build,
            context="../..",
            protocol="none",
        )


def php(tree: Tree, folder: str) -> Iterator[Found]:
    """Laravel, Symfony, Slim: by PHP's own server, which says what it is."""
    source = join(folder, "composer.json")
    needs = frozenset(table(tree.json(source).get("require")))
    found = Found(name=slug(tree.base(folder)), folder=folder, source=source)
    found.steps = ["composer install --no-dev --no-interaction"]
    found.notes["run"] = "PHP's development server; FrankenPHP or RoadRunner for more"
    if "laravel/framework" in needs:
        found.run = "php artisan serve --host={host} --port={port}"
        found.health = "/up" if "health:" in tree.text(join(folder, "bootstrap/app.php")) else ""
    elif tree.has(folder, "public/index.php"):
        found.run = "php -S {address} -t public"
    elif tree.has(folder, "index.php"):
        found.run = "php -S {address}"
    else:
        return
    yield found


def cargo_workspaces(tree: Tree) -> list[str]:
    """The folders of Cargo workspaces, the inner ones first."""
    tops = [
        folder
        for folder in tree.folders()
        if tree.has(folder, "Cargo.toml")
        and words(table(tree.toml(join(folder, "Cargo.toml")).get("workspace")).get("members"))
    ]
    return tops[::-1]


def _learn(found: Found, files: list[tuple[str, str]]) -> None:
    """How the program learns its port, and its health path."""
    if found.protocol == "none":
        return
    if found.protocol == "http":
        found.health, where = health_path(files)
        found.notes["health"] = f"found in {where}" if where else ""
    port = port_of(files)
    if any_has(files, r"rocket::build\(|#\[launch\]"):
        found.port_env = "ROCKET_PORT"  # what Rocket reads by itself
    elif port.variable:
        found.port_env = "" if port.variable == "PORT" else port.variable
    elif port.address:
        found.env[port.address] = "{address}"
    else:
        found.notes["port"] = "no sign that it reads PORT: it must listen there, or take {port} in `run`"
