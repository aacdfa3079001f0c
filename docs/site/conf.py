"""How Sphinx makes a site of the repository's Markdown: `make docs`. The source root is the repository's.

So a link between two pages is the same relative path on the site, on GitHub and in an editor; nothing is copied.
"""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

project = "Atoll"
author = "the authors of Atoll"
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
language = "en"

root_doc = "docs/index"
include_patterns = ["*.md", "docs/*.md", "docs/*/*.md", "examples/**/README.md"]
exclude_patterns = ["**/node_modules"]

extensions = ["myst_parser"]
smartquotes = False  # `--env` in a table is no dash
myst_heading_anchors = 4  # as GitHub makes them
myst_links_external_new_tab = False
highlight_language = "text"

html_theme = "furo"
html_title = f"Atoll {version}"
html_static_path = ["static"]
html_css_files = ["atoll.css"]
html_extra_path = ["root"]  # an index.html that leads to docs/
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
pygments_style = "default"
pygments_dark_style = "monokai"
