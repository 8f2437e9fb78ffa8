# `make up` and `make test` do all the set-up there is.
.PHONY: check
check:
	ruff format --check .
	ruff check .
	mypy
	lint-imports
