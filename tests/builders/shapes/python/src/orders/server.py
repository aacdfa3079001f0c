"""The way in."""

import os

import uvicorn
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from orders.pricing import PRICES

app = FastAPI()


@app.get("/", response_class=PlainTextResponse)
def root() -> str:
    return f"release 1: {len(PRICES)} prices"


def main() -> None:
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
