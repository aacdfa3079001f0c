"""A workspace that a test has written."""

from collections.abc import Callable, Mapping
from pathlib import Path

Write = Callable[[Mapping[str, str]], Path]  # path -> text, below the root, which it returns
