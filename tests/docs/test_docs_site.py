"""The site is built as `make docs` builds it: a page that is in no table of contents, or a link that Sphinx cannot follow, fails."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.pages import ROOT, names


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_has_every_page(tmp_path: Path) -> None:
    command = re.search(r"sphinx-build (.*) build/site\n", (ROOT / "Makefile").read_text())
    assert command is not None
    argv = [
        sys.executable,
        "-m",
        "sphinx",
        *command[1].split(),
        "--doctree-dir",
        str(tmp_path / "trees"),
        str(tmp_path),
    ]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for name in names():
        assert (tmp_path / name).with_suffix(".html").is_file()
    assert 'id="gateway-port-taken"' in (tmp_path / "docs" / "troubleshooting.html").read_text()
    assert "docs/index.html" in (tmp_path / "index.html").read_text()
