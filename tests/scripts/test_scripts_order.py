"""In which order a run on several workers takes files (tests/conftest.py), with a real pytest and real workers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LONG = "import pytest\n\n@pytest.mark.slow\n{more}def test_long(): pass\n"


def test_files_with_long_tests_come_first_and_those_of_many_short_ones_last(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\ntimeout = 180\nmarkers = slow\n")
    (tmp_path / "test_a_many.py").write_text("".join(f"def test_{n}(): pass\n" for n in range(20)))
    (tmp_path / "test_b_long.py").write_text(LONG.format(more=""))
    (tmp_path / "test_c_longer.py").write_text(LONG.format(more="@pytest.mark.timeout(600)\n"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "tests.conftest", "-p", "no:cacheprovider", "-n", "1",
         "--dist", "loadfile", "--no-loadscope-reorder", str(tmp_path)],
        cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}"},
        capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    ran = re.findall(r"PASSED (test_\w+)\.py", done.stdout)
    assert list(dict.fromkeys(ran)) == ["test_c_longer", "test_b_long", "test_a_many"]
