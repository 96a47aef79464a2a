# `make` is what a change has to pass. `make help` lists the targets.
.DEFAULT_GOAL := check
.PHONY: check help environment fmt lint documents screenshots pictures types imports test test-all
.PHONY: test-permissions chaos clean

# The same helper as in bin/ makes .venv; its path may hold spaces, hence the quotes everywhere.
IN_VENV = bin='$(CURDIR)/bin'; . ./bin/_environment.sh; environment dev;

check: lint types imports test ## all that a change has to pass (the default)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 12

environment: ## make or refresh .venv, with the developers' tools
	@$(IN_VENV)

fmt: ## format the code and mend what ruff can mend
	@$(IN_VENV) ruff check --fix-only . && ruff format .

lint: ## check the format, then ruff's rules
	@$(IN_VENV) ruff format --check . && ruff check .

documents: ## make anew what is made from the code: docs/config.md, docs/commands.md, the reference in docs/library_api.md, man/
	@$(IN_VENV) python -m tests.support.settings_table >docs/config.md.new && mv docs/config.md.new docs/config.md
	@$(IN_VENV) python -m tests.support.command_pages >docs/commands.md.new && mv docs/commands.md.new docs/commands.md
	@$(IN_VENV) python -m tests.support.library_reference
	@$(IN_VENV) python -m tests.support.man_pages

screenshots: ## pictures of all pages in build/screenshots, light and dark, wide and narrow
	@$(IN_VENV) python -m tests.support.screenshots build/screenshots

pictures: ## the pictures of the tutorial, taken while it is carried out
	@$(IN_VENV) python -m tests.support.tutorial tutorial/images

types: ## mypy, strict, on the package
	@$(IN_VENV) mypy

imports: ## which module may import which (pyproject.toml says why)
	@$(IN_VENV) lint-imports

test: ## the fast tests
	@bin/test -m 'not long'

test-all: ## all tests, those that take long too
	@bin/test

# What uses most of that which NATS can be asked; the tests of permissions and of doctor have users of their own anyway.
PERMITTED = $(patsubst %,tests/process/test_%.py,sign_in admin_commands artifacts backup cancel client_dlq \
	dead_letters delivery_limit retries run_logs wheel_sync worker_killed worker_registry) \
	$(patsubst %,tests/integration/test_%.py,api_keys artifact_routes housekeeping polled_ends retention wheels)

test-permissions: ## a part of the tests, long ones too, with NATS permitting each command no more than its role needs
	@PYOCO_TEST_PERMISSIONS=1 bin/test $(PERMITTED)

chaos: ## ten minutes of kills at random (MINUTES=, SEED=, CLUSTER=1), and what they must not have brought about
	@$(IN_VENV) python -m tests.chaos.storm --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED)) $(if $(CLUSTER),--cluster)

clean: ## remove what builds and tools leave, the environments too
	rm -rf .venv* build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
