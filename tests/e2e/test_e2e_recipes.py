"""Ruby and PHP by the recipes of docs/howto, as they stand on those pages: built, run, replaced under load, stopped."""

import re
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lab import Lab

HOWTO = Path(__file__).parents[2] / "docs/howto"
_FILE = re.compile(r"^\*\*(?P<name>[\w./]+)\*\*\n\n```\w+\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)


def recipe(page: str) -> dict[str, str]:
    """The files of a page."""
    files = {found["name"]: found["text"] for found in _FILE.finditer((HOWTO / page).read_text())}
    assert "service.toml" in files
    return files


def needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program, path="/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin") is None:
            pytest.skip(f"{program} is not on this machine")


def write(lab: Lab, files: dict[str, str], **changes: str) -> None:
    for path, text in files.items():
        for old, new in changes.items():
            text = text.replace(old, new)
        file = lab.root / "greet" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@contextmanager
def asked(lab: Lab) -> Iterator[list[str]]:
    """What a steady client is answered, or why it was not."""
    answers: list[str] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.02):
            try:
                with urllib.request.urlopen(f"{lab.url}/", timeout=20) as reply:
                    answers.append(reply.read().decode())
            except OSError as exc:
                answers.append(f"failed: {exc}")

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        over.set()
        thread.join()


def released_twice(lab: Lab, change: Callable[[], None]) -> None:
    """Release 1 answers, release 2 takes its place under load, and nobody notices but by the text."""
    lab.atoll("up", timeout_s=200)
    with asked(lab) as answers:
        lab.until(lambda: answers)
        change()
        lab.atoll("deploy", "greet", timeout_s=200)
        lab.until(lambda: answers[-1] == "hello release 2")
    assert set(answers) == {"hello release 1", "hello release 2"}


def test_ruby(lab: Lab) -> None:
    needs("ruby", "bundle", "gem")
    gem = lab.root.parent / "gem"
    (gem / "lib").mkdir(parents=True)
    (gem / "greeting.gemspec").write_text(
        'Gem::Specification.new { |gem| gem.name, gem.version, gem.summary, gem.authors = "greeting", "1.0", "x", ["x"]\n'
        'gem.files = ["lib/greeting.rb"] }\n'
    )
    (gem / "lib/greeting.rb").write_text('module Greeting; def self.of(name) = "hello #{name}"; end\n')
    files = recipe("ruby.md")
    lock = "GEM\n  remote: https://rubygems.org/\n  specs:\n    greeting (1.0)\n\nPLATFORMS\n  ruby\n\nDEPENDENCIES\n  greeting\n"
    files |= {"Gemfile": 'source "https://rubygems.org"\ngem "greeting"\n', "Gemfile.lock": lock}
    files["service.toml"] = files["service.toml"].replace('"bundle install"', '"bundle install --local"')
    write(lab, files)
    cache = lab.root / "greet/vendor/cache"
    cache.mkdir(parents=True)
    build = ["gem", "build", "greeting.gemspec", "-o", str(cache / "greeting-1.0.gem")]
    subprocess.run(build, cwd=gem, check=True, capture_output=True, timeout=60)
    released_twice(lab, lambda: write(lab, files, **{"release 1": "release 2"}))
    lab.atoll("down", "greet", "--yes")
    said = [line["text"] for line in lines(lab) if line["stream"] == "stdout"]
    assert said == ["bye", "bye"], "each release's replica came to its own end"


PHP = {
    "composer.json": '{"require": {"shop/greeting": "^1.0"}, "repositories": [{"packagist.org": false},'
    ' {"type": "path", "url": "packages/greeting", "options": {"symlink": false}}]}',
    "packages/greeting/composer.json": '{"name": "shop/greeting", "version": "1.0.0", "autoload": {"psr-4": {"Shop\\\\": "src"}}}',
    "packages/greeting/src/Greeting.php": "<?php namespace Shop;\n"
    'class Greeting { static function of(string $name): string { return "hello $name"; } }\n',
    "public/index.php": "<?php\nrequire __DIR__ . '/../vendor/autoload.php';\necho Shop\\Greeting::of('release 1');\n",
}


def locked(lab: Lab, files: dict[str, str]) -> None:
    write(lab, files)
    argv = ["composer", "update", "--no-install", "--no-interaction"]
    env = {**lab.env, "COMPOSER_ALLOW_SUPERUSER": "1"}
    subprocess.run(argv, cwd=lab.root / "greet", env=env, check=True, capture_output=True, timeout=100)


def test_php_fpm(lab: Lab) -> None:
    needs("php", "composer", "nginx")
    if not list(Path("/usr/sbin").glob("php-fpm*")) and shutil.which("php-fpm") is None:
        pytest.skip("php-fpm is not on this machine")
    files = {**PHP, **recipe("php.md")}
    locked(lab, files)
    released_twice(lab, lambda: write(lab, files, **{"release 1": "release 2"}))
    lab.atoll("down", "greet", "--yes")
    assert sum("exiting, bye-bye" in line["text"] for line in lines(lab)) == 2


def test_php_by_its_built_in_server(lab: Lab) -> None:
    needs("php", "composer")
    files = {**PHP, **recipe("php.md")}
    simple = re.findall(r'^run = "php -S.*\n\n\[env\]\n.*$', (HOWTO / "php.md").read_text(), re.MULTILINE)[0]
    files["service.toml"] = (
        files["service.toml"].replace('run = "sh serve.sh"\n', "").replace("[build]", "ROUTE_HERE\n[build]")
    )
    run, _, env = simple.partition("\n\n")
    files["service.toml"] = f"{run}\n" + files["service.toml"].replace("ROUTE_HERE", env)
    locked(lab, files)
    released_twice(lab, lambda: write(lab, files, **{"release 1": "release 2"}))


def lines(lab: Lab) -> list[dict[str, str]]:
    import json

    printed = lab.atoll("logs", "greet", "--json", "--tail", "1000")
    return [json.loads(line) for line in printed.splitlines()]
