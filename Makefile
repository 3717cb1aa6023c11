# Short names for the commands that a contributor runs often. `make help` lists them.
.PHONY: help setup test test-all lint docs bench

help:  ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

setup:  ## install the package, the tests and the commit hooks
	pip install -e '.[test,docs]' pre-commit && pre-commit install

test:  ## the fast tests
	pytest -m "not slow"

test-all:  ## all tests
	pytest

lint:  ## formatting, lint and types
	ruff format --check . && ruff check . && mypy

docs:  ## build the documentation site into site/
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

bench:  ## all benchmarks (about an hour on an idle machine)
	python -m benchmarks.run
