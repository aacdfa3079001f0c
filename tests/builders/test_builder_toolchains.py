"""The real toolchains of this machine: a service is built, and run, with the one that it asks for."""

import os

import pytest

from atoll.pipeline.detect import TOOLCHAINS
from atoll.pipeline.toolchains import Found, Toolchains

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

JAVA = 'public class Said { public static void main(String[] a) { System.out.println(System.getProperty("java.home")); } }\n'


def there(language: str) -> list[Found]:
    """The oldest and the newest of a language that still are maintained, or at least close to it."""
    least = {"python": (3, 9), "java": (11,)}[language]
    found = [
        each
        for each in Toolchains(os.environ).all(TOOLCHAINS[language])
        if tuple(int(number) for number in each.version.split(".")) >= least
    ]
    if not found:
        pytest.skip(f"no {language} toolchain is on this machine")
    return list({each.program: each for each in (found[0], found[-1])}.values())


def test_a_java_service_is_compiled_and_run_by_the_jdk_that_it_asks_for(yard) -> None:
    yard.write("said", {"Said.java": JAVA})
    for jdk in there("java"):
        artifact = yard.build("said", tool=f"java@{jdk.version}")
        assert yard.out(artifact, "java", "Said") == jdk.home


def test_a_python_service_runs_on_the_python_that_it_asks_for(yard) -> None:
    yard.write("said", {"app.py": "import platform; print(platform.python_version())"})
    for python in there("python"):
        artifact = yard.build("said", tool=f"python@{python.version}")
        assert yard.out(artifact, "python3", "app.py").startswith(python.version)


def test_two_releases_with_different_toolchains_stand_side_by_side(yard) -> None:
    found = there("python")
    if len(found) < 2:
        pytest.skip("only one Python is on this machine")
    yard.write("said", {"requirements.txt": "", "app.py": "import sys; print(sys.prefix)"})
    artifacts = [yard.build("said", tool=f"python@{python.version}") for python in found]
    assert [yard.out(each, "python3", "app.py") for each in artifacts] == [f"{each.path}/.venv" for each in artifacts]
