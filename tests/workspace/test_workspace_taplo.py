"""What an editor makes of the schemas: Taplo, the reader behind Even Better TOML, checks real files with them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from atoll.workspace import schema

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "shop"


@pytest.fixture(scope="module")
def taplo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("npm") is None:
        pytest.skip("npm is not here")
    folder = tmp_path_factory.mktemp("taplo")
    installed = subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund", "@taplo/cli@0.7.0"],
        cwd=folder, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    if installed.returncode:
        pytest.skip(f"@taplo/cli cannot be installed here: {installed.stderr[-200:]}")
    return folder / "node_modules" / ".bin" / "taplo"


def lint(taplo: Path, folder: Path, of: str, *files: Path) -> subprocess.CompletedProcess[str]:
    written = folder / schema.FILES[of][0]
    written.write_text(schema.text(of))
    command = [str(taplo), "lint", "--schema", f"file://{written}", *map(str, files)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
def test_an_editor_takes_the_shops_files_and_points_at_mistakes(taplo: Path, tmp_path: Path) -> None:
    services = [Path(shutil.copy(file, tmp_path / f"{file.parent.name}.toml")) for file in SHOP.glob("*/service.toml")]
    done = lint(taplo, tmp_path, "service", *services)
    assert done.returncode == 0, done.stderr
    shutil.copy(SHOP / "atoll.toml", tmp_path / "atoll.toml")
    assert lint(taplo, tmp_path, "workspace", tmp_path / "atoll.toml").returncode == 0
    bad = tmp_path / "bad.toml"
    bad.write_text('run = "x"\nreplicas = "2"\n')
    done = lint(taplo, tmp_path, "service", *services, bad)  # each of several files is read, or this would be well
    assert done.returncode != 0
    assert "invalid schema" not in done.stderr
    assert "replicas" in done.stderr
