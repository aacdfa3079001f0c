"""What things cost."""

import json
from importlib.resources import files

from pydantic import TypeAdapter

PRICES = TypeAdapter(list[int]).validate_python(json.loads(files("orders").joinpath("prices.json").read_text()))
