# Every command sets up what it needs: Python 3.11 or later, make and a network are enough.
# PYTHON=3.12 chooses another interpreter, VENV=.venv-3.12 another environment.

VENV ?= .venv
PYTHON ?=
UV := $(or $(shell command -v uv),.uv/bin/uv)
SYNC = $(UV) sync --quiet --no-dev --inexact $(if $(PYTHON),--python $(PYTHON))

export UV_PROJECT_ENVIRONMENT = $(VENV)
export PATH := $(CURDIR)/.uv/bin:$(PATH)

.PHONY: help demo test test-lowest test-forked soak fuzz leaks audit lint bench docs links pictures clean
.DEFAULT_GOAL := help

help: ## Say what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /make \1	/'

demo: $(UV) ## Run the client against an API that it starts on this machine
	@test -d $(VENV) || echo "Setting up $(VENV) ..."
	@$(SYNC)
	@$(VENV)/bin/cruds demo

test: $(UV) ## Run the tests (ARGS="-k digest" chooses among them)
	@$(SYNC) --group test
	@$(VENV)/bin/python -m pytest $(ARGS)

soak: $(UV) ## Work for minutes over connections that break
	@$(SYNC) --group test
	@CRUDS_TEST_SOAK=10000 $(VENV)/bin/python -m pytest tests/reliability/test_soak.py $(ARGS)

# What needs other packages than these is left to `make test`.
LOWEST = .venv-lowest
LOWEST_TESTS = tests/core tests/basic tests/reliability/test_faults.py \
	$(addprefix tests/oauth2/test_,assertion.py encryption.py endpoint.py client_authentication.py \
	grants.py authorization.py token_source.py stored_token.py stores.py)
PROJECTS = cruds_core/pyproject.toml cruds_auth_basic/pyproject.toml cruds_auth_oauth2/pyproject.toml pyproject.toml

test-lowest: $(UV) ## Run the core of the tests with the lowest versions of what we depend on
	@$(UV) venv --quiet --allow-existing $(if $(PYTHON),--python $(PYTHON)) $(LOWEST)
	@$(UV) pip compile --quiet --python $(LOWEST) --resolution lowest-direct --all-extras $(PROJECTS) \
		-o $(LOWEST)/lowest.txt >/dev/null
	@$(UV) pip install --quiet --python $(LOWEST) -r $(LOWEST)/lowest.txt -e . \
		'pytest>=9' 'pytest-xdist>=3.8' 'hypothesis>=6.150' 'trustme>=1.2' 'keyrings.alt>=5.0' 'brotli>=1.2'
	@CRUDS_TEST_REQUIRE= $(LOWEST)/bin/python -m pytest $(ARGS) $(LOWEST_TESTS)

# The fork counts as urllib3 does, but names headers and errors of its own: what is about those is left out.
FORKED = .venv-forked
FORKED_TESTS = $(addprefix tests/core/test_,auth.py client.py content.py download.py multipart.py response.py \
	status.py) $(addprefix tests/basic/test_,basic.py digest.py session.py)

test-forked: $(UV) ## Run the core of the tests with urllib3-future in the place of urllib3
	@$(UV) venv --quiet --allow-existing $(if $(PYTHON),--python $(PYTHON)) $(FORKED)
	@$(UV) pip install --quiet --python $(FORKED) -e . \
		'pytest>=9' 'pytest-xdist>=3.8' 'hypothesis>=6.150' 'trustme>=1.2' 'redis>=6'
	@$(UV) pip install --quiet --python $(FORKED) --reinstall 'urllib3-future>=2.14'
	@CRUDS_TEST_REQUIRE= $(FORKED)/bin/python -m pytest -W default $(ARGS) $(FORKED_TESTS)

fuzz: $(UV) ## Fuzz what reads a server's words (SECONDS=60 for each), and every entry point
	@$(SYNC) --group test
	@$(UV) pip install --quiet --python $(VENV) 'atheris>=3'
	@for target in $(notdir $(wildcard tests/fuzz/corpus/*)); do \
		(cd tests && ../$(VENV)/bin/python -m fuzz $$target $(or $(SECONDS),60)) || exit 1; \
	done
	@CRUDS_TEST_EXAMPLES=5000 $(VENV)/bin/python -m pytest tests/fuzz

leaks: $(UV) ## Count what 100 000 requests of each kind, and 10 000 interrupts, leave behind
	@$(SYNC) --group test
	@CRUDS_TEST_REQUESTS=100000 CRUDS_TEST_INTERRUPTS=10000 \
		$(VENV)/bin/python -m pytest tests/attack/test_leaks.py tests/attack/test_interrupts.py

audit: $(UV) ## Ask the network for known weaknesses of what we depend on
	@$(SYNC)
	@$(UV) export --quiet --no-dev --all-extras --no-emit-workspace --no-hashes -o $(VENV)/audit.txt >/dev/null
	@$(UV) tool run --quiet pip-audit --strict --no-deps --disable-pip --requirement $(VENV)/audit.txt

lint: $(UV) ## Check style, spelling and types
	@$(SYNC) --group lint
	@failed=0; \
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python & pyright=$$!; \
	$(VENV)/bin/ruff check . || failed=1; \
	$(VENV)/bin/ruff format --check . || failed=1; \
	$(VENV)/bin/codespell || failed=1; \
	$(VENV)/bin/mypy || failed=1; \
	wait $$pyright || failed=1; \
	exit $$failed

docs: $(UV) ## Build the site into build/docs, without a network
	@$(SYNC) --group docs
	@$(VENV)/bin/python -m sphinx -n -W --keep-going -q -E docs build/docs

links: $(UV) ## Ask the network whether the links to elsewhere still lead there
	@$(SYNC) --group docs
	@$(VENV)/bin/python -m sphinx -b linkcheck -q -E docs build/links

pictures: ## Draw the pictures of docs/pictures anew (needs Graphviz)
	@python3 docs/pictures/draw.py

bench: $(UV) ## Measure against other libraries, and write docs/benchmarks/
	@$(SYNC) --group test --group bench
	@PYTHONPATH=tests $(VENV)/bin/python -m benchmarks --uv $(UV) $(ARGS)

clean: ## Remove what the commands above made
	rm -rf .venv* .uv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

.uv/bin/uv:
	@python3 -m venv .uv
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check uv
