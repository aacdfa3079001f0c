# `make check` before a commit; `make test` is everything. See CONTRIBUTING.md.
.PHONY: check static unit audit test docs demo bench format lock clean

BIN := .venv/bin
STAMP := .venv/.stamp

check: static audit unit ## format, lint, types, layers, known vulnerabilities, unit tests

static: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

audit: $(STAMP) ## what is known against the locked dependencies and Envoy; nothing where no database can be reached
	$(BIN)/python scripts/audit.py

unit: $(STAMP) ## with what is left unclosed or unawaited as errors
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not e2e and not slow" \
		-W error::ResourceWarning -W error::pytest.PytestUnraisableExceptionWarning

test: $(STAMP) ## every test, and what they start is gone afterwards
	scripts/test

docs: $(STAMP) ## the site of the documentation, in build/site; a warning is an error
	$(BIN)/sphinx-build --fail-on-warning --keep-going --nitpicky --quiet --fresh-env --write-all -b html -c docs/site . build/site
	@echo "build/site/index.html"

demo: $(STAMP) ## the promises, kept under load, in about two minutes; ENGINE=docker: in containers
	$(BIN)/python examples/demo.py $(if $(ENGINE),--engine $(ENGINE))

bench: $(STAMP) ## benchmarks: ratios from one interleaved run
	$(BIN)/python -m bench

format: $(STAMP)
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lock: $(STAMP) ## requirements.lock from pyproject.toml
	scripts/lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build src/*.egg-info

$(STAMP): requirements.lock scripts/setup
	scripts/setup
