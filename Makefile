# `make up` and `make test` do all the set-up there is; a second run finds it done.
# Distributions build their interpreter with profile-guided optimisation; one compiled on the machine is up to a third slower.
FIT := -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
PYTHON ?= $(shell /usr/bin/python3 $(FIT) && echo /usr/bin/python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
UP_OPTIONS ?=
# The real az is a test's client; it brings two hundred packages along and gets an environment of its own.
AZ := .venv-az
AZ_VERSION := 2.91.0

.PHONY: up down test test-waiting test-working test-faults test-killed-managers check format benchmarks help system-packages test-packages test-az-packages
.DEFAULT_GOAL := help

help:
	@echo "make up      a cluster on this machine (UP_OPTIONS='--nodes 2 --simulated-nodes 100', see kobune up --help)"
	@echo "make down    stop it"
	@echo "make test    check and run every test"
	@echo "make test-faults  the long form of the tests with faults: processes killed, disks full, networks cut"
	@echo "make test-killed-managers  the long form of the tests of controller managers killed again and again"
	@echo "make test-az-packages  the real az, in an environment of its own, for the tests"
	@echo "make check   format, lint, types, import arrows"
	@echo "make format  put the code into its form"
	@echo "make benchmarks  print the figures of docs/performance.md"

up: $(VENV)/ready system-packages
	@case ' $(UP_OPTIONS) ' in *etcd*|*standard*|*premium*) tools/install-system-packages etcd-server;; esac
	@$(BIN)/kobune up $(UP_OPTIONS)

down: $(VENV)/ready
	@$(BIN)/kobune down

test: check test-packages $(AZ)/ready
	@$(MAKE) --no-print-directory --jobs 2 --keep-going test-waiting test-working

# Tests of real clusters wait for processes and containers most of the time, so the others run beside them.
WAITING := tests/azure tests/faults tests/node tests/scenarios
WORKING := $(filter-out $(WAITING) tests/__pycache__,$(patsubst %/,%,$(wildcard tests/*/)))

test-waiting: $(VENV)/ready-dev
	$(BIN)/python -m pytest -m "not slow" $(WAITING)

test-working: $(VENV)/ready-dev
	$(BIN)/python -m pytest -m "not slow" $(WORKING)

# They wait more than they work, so some go side by side, those that take longest first.
KILLED := tests/faults/test_killed_api_server.py
FAULTS := killed-api-server killed-api-servers $(patsubst %,tests/faults/test_%.py,killed_service redundant_control_plane \
    killed_store linearizability etcd_cluster network_cut clock_jumps slow_disk)
FAULTS += $(filter-out $(FAULTS) $(KILLED),$(wildcard tests/faults/test_*.py))

test-faults: $(VENV)/ready-dev test-packages
	@$(MAKE) --no-print-directory --jobs 3 --keep-going --output-sync=target $(FAULTS)

.PHONY: $(FAULTS)
$(filter tests/%,$(FAULTS)):
	$(BIN)/python -m pytest $@

killed-api-server:
	$(BIN)/python -m pytest $(KILLED) -m "not etcd"

killed-api-servers:
	$(BIN)/python -m pytest $(KILLED) -m etcd

# In virtual time, so they work and never wait.
test-killed-managers: $(VENV)/ready-dev
	$(BIN)/python -m pytest tests/controlplane/controllers/test_killed_manager*.py

check: $(VENV)/ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/ready-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

benchmarks: $(VENV)/ready-dev system-packages
	@for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

system-packages:
	@tools/install-system-packages

test-packages:
	@tools/install-system-packages etcd-server

test-az-packages: $(AZ)/ready

$(AZ)/ready: | $(VENV)/bin/python
	@$(PYTHON) -m venv $(AZ)
	$(AZ)/bin/pip install --quiet --disable-pip-version-check azure-cli==$(AZ_VERSION)
	@touch $@

# Debian keeps venv in a package of its own.
$(VENV)/bin/python:
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { \
	    rm -rf $(VENV); \
	    [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null; \
	    $(PYTHON) -m venv $(VENV); }

$(VENV)/ready: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(VENV)/ready-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/ready
