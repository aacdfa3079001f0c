"""The files of CI systems, held against the systems' own schemas, and GitHub's against actionlint."""

import json
import os
import shutil
import subprocess
from importlib.resources import files as resources
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from jsonschema import Draft7Validator

from atoll.model.records import CiPlan, PlannedTask
from atoll.pipeline.report import matrix
from atoll.pipeline.report.workflows import Setting, files

SETTINGS = (
    Setting(),
    Setting(branch="trunk", environment="production"),
    Setting(branch="release/1.0", environment="staging", folder="apps/shop"),
)
HOWTO = Path(__file__).parents[2] / "docs/howto/ci.md"


def schema(name: str) -> Any:
    """As SchemaStore has it."""
    return json.loads((resources("check_jsonschema") / "builtin_schemas/vendor" / name).read_text())


def mistakes(text: str, name: str) -> list[str]:
    # YAML 1.1 reads the key `on` as true; GitHub does not.
    read = {("on" if key is True else key): value for key, value in yaml.safe_load(text).items()}
    return [error.message for error in Draft7Validator(schema(name)).iter_errors(read)]


@pytest.fixture(scope="module")
def actionlint(tmp_path_factory: pytest.TempPathFactory) -> str:
    if found := shutil.which("actionlint"):
        return found
    if shutil.which("go") is None:
        pytest.skip("neither actionlint nor go is here")
    folder = tmp_path_factory.mktemp("actionlint")
    done = subprocess.run(
        ["go", "install", "github.com/rhysd/actionlint/cmd/actionlint@v1.7.7"],
        env=os.environ | {"GOBIN": str(folder)}, capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"actionlint cannot be installed here: {done.stderr[-200:]}")
    return str(folder / "actionlint")


def lint(actionlint: str, folder: Path, text: str) -> str:
    """What it says; self-hosted runners' labels are the user's own."""
    (folder / ".github/workflows").mkdir(parents=True)
    (folder / ".github/actionlint.yaml").write_text("self-hosted-runner:\n  labels: [production, staging]\n")
    (folder / ".github/workflows/atoll.yml").write_text(text)
    (folder / ".git").mkdir()
    done = subprocess.run([actionlint], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.branch)
@pytest.mark.parametrize(
    ("system", "name"), [("github", "github-workflows.json"), ("gitlab", "gitlab-ci.json")], ids=["github", "gitlab"]
)
def test_the_files_are_what_the_systems_schema_says(
    system: Literal["github", "gitlab"], name: str, setting: Setting
) -> None:
    for path, text in files(system, setting).items():
        assert mistakes(text, name) == [], path
        assert ("deploy --affected" in text) == (bool(setting.environment) and path != matrix.INCLUDED)
        for placeholder in ("[BRANCH]", "ENVIRONMENT", "INCLUDED", "DEFAULTS"):
            assert placeholder not in text


def test_a_mistake_in_a_file_is_seen_by_the_schemas() -> None:
    for system, name in (("github", "github-workflows.json"), ("gitlab", "gitlab-ci.json")):
        (text, *_) = files(system, Setting()).values()  # type: ignore[arg-type]
        assert mistakes(text.replace("jobs:", "job:").replace("script:", "skript:"), name)


def test_a_child_pipeline_is_what_gitlabs_schema_says() -> None:
    plan = CiPlan(tasks=(PlannedTask(task="orders.test", runs=True), PlannedTask(task="image.test", runs=True)))
    assert mistakes(matrix.gitlab(plan), "gitlab-ci.json") == []
    assert mistakes(matrix.gitlab(CiPlan()), "gitlab-ci.json") == []


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.branch)
def test_actionlint_takes_the_workflow(setting: Setting, actionlint: str, tmp_path: Path) -> None:
    (text,) = files("github", setting).values()
    assert lint(actionlint, tmp_path, text) == ""


@pytest.mark.slow
def test_actionlint_sees_a_mistake(actionlint: str, tmp_path: Path) -> None:
    (text,) = files("github", SETTINGS[1]).values()
    assert "needs" in lint(actionlint, tmp_path, text.replace("needs: ci", "needs: nobody"))


@pytest.mark.slow
def test_the_matrix_of_the_documentation_is_taken_too(actionlint: str, tmp_path: Path) -> None:
    _, _, rest = HOWTO.read_text().partition("```yaml\n")
    text = rest.partition("```")[0]
    assert mistakes(text, "github-workflows.json") == []
    assert lint(actionlint, tmp_path, text) == ""
