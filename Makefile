# Short names for the commands that a contributor runs often. `make help` lists them.
.PHONY: help setup test test-all test-oldest lint docs bench

# The lower bounds in pyproject.toml, such as transformers==5.23.*
OLDEST = $(shell sed -nE 's/^ +"(transformers|peft|trl)>=([0-9.]+),.*/\1==\2.*/p' pyproject.toml)

help:  ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

setup:  ## install the package, the tests and the commit hooks
	pip install -e '.[test,docs]' pre-commit && pre-commit install

test:  ## the fast tests
	pytest -m "not slow"

test-all:  ## all tests
	pytest

test-oldest:  ## the fast tests with the oldest supported transformers, PEFT and TRL, in .venv-oldest
	python3 -m venv .venv-oldest
	.venv-oldest/bin/pip install -e '.[test]' $(foreach each,$(OLDEST),'$(each)')
	.venv-oldest/bin/python -m pytest -m "not slow"

lint:  ## formatting, lint and types
	ruff format --check . && ruff check . && mypy

docs:  ## build the documentation site into site/
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

bench:  ## all benchmarks (about an hour on an idle machine)
	python -m benchmarks.run
