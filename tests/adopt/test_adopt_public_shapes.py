"""What `atoll init` makes of repositories in the shape of well-known public ones, to the letter.

`public/NAME.txt` is what a person gets: every file, then what is left. After a change, ATOLL_RENEW=1 writes them anew;
read the difference before it is committed.
"""

import os
from pathlib import Path

import pytest
from public_shapes import SHAPES

HERE = Path(__file__).parent / "public"


@pytest.mark.parametrize("name", SHAPES)
def test_a_public_shape_is_adopted_to_the_letter(name: str, adopt) -> None:
    done = adopt(SHAPES[name](), name=name)
    files = [f"--- {file}\n{text}" for file, text in done.files.items()]
    left = [f"{place}\n    {line}" for place, line in zip(done.places, done.left, strict=True)]
    text = "\n".join([*files, "--- left", *left, "--- not needed", *done.unneeded]) + "\n"
    if os.environ.get("ATOLL_RENEW"):
        HERE.mkdir(exist_ok=True)
        (HERE / f"{name}.txt").write_text(text)
    assert text == (HERE / f"{name}.txt").read_text()
