# The environment is .venv, made from hash-pinned requirements; every target makes what it needs and does it once.
PYTHON ?= python3
# `make demo INSTALLER=pip` installs with pip alone, which honours pip's own configuration (mirrors, certificates).
INSTALLER ?= uv

VENV := .venv
BIN := $(VENV)/bin
# dev.txt holds all of core.txt at the same versions: an environment that has it serves the demo as it is.
INSTALLED := $(if $(wildcard $(VENV)/.dev)$(filter test,$(MAKECMDGOALS)),dev,core)
READY := $(if $(filter pip,$(INSTALLER)),$(VENV)/.made,$(VENV)/.uv)
EXTRAS := torch cluster hub s3 gcs signing kaggle deploy deploy-gpu benchmarks
COMPILE = $(BIN)/uv pip compile -q --universal --generate-hashes --no-header $(UPGRADE)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test airflow lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@printf '\n  %s\n  %s\n' \
	  'PYTHON=python3.12   use this interpreter (3.11, 3.12 or 3.13)' \
	  'INSTALLER=pip       install with pip instead of uv; pip.conf applies'

demo: $(VENV)/.project-$(INSTALLED) ## Train, judge and publish the models of configs/icd10.yaml
	$(BIN)/tradewind run configs/icd10.yaml

test: $(VENV)/.project-dev ## Lint, check types and import contracts, run all tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

airflow: $(VENV)/.project-$(INSTALLED) ## Start Airflow with the DAGs of all recipes, on this machine only
	$(BIN)/tradewind airflow

lock: $(VENV)/.uv ## Write the hash-pinned requirements anew (UPGRADE=--upgrade: at the newest versions)
	$(COMPILE) pyproject.toml --extra build -o requirements/core.txt
	@set -e; for extra in dev $(EXTRAS); do \
	  echo "requirements/$$extra.txt"; \
	  cp requirements/core.txt requirements/$$extra.txt; \
	  $(COMPILE:$(UPGRADE)=) pyproject.toml --extra build --extra $$extra -o requirements/$$extra.txt; \
	done
	$(COMPILE) --group scheduling --constraint requirements/deploy.txt -o requirements/scheduling.txt
	$(COMPILE) requirements/uv.in -o requirements/uv.txt

clean: ## Remove the environment and caches; artifacts and models in workspace/ stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './workspace/*' -prune -exec rm -rf {} +

# The environment, stage by stage; each file is the stamp of one that is done.
$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { echo 'Tradewind needs Python 3.11, 3.12 or 3.13: $(PYTHON) not found'; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 11) <= v < (3, 14) or sys.exit( \
	  f"Tradewind needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is {v[0]}.{v[1]}. Name another: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.uv: requirements/uv.txt | $(VENV)/.made
	@$(BIN)/python -m pip install -q --require-hashes -r $<
	@touch $@

$(VENV)/.core $(VENV)/.dev: $(VENV)/.%: requirements/%.txt | $(READY)
	@echo "Installing requirements/$*.txt with $(INSTALLER) into $(VENV)"
	@rm -f $(VENV)/.core $(VENV)/.dev $(VENV)/.project-*
ifeq ($(INSTALLER),pip)
	$(BIN)/python -m pip install -q --require-hashes -r $<
else
	$(BIN)/uv pip sync -q --compile-bytecode --python $(BIN)/python --require-hashes $<
endif
	@touch $@

$(VENV)/.project-core $(VENV)/.project-dev: $(VENV)/.project-%: pyproject.toml $(VENV)/.% | $(READY)
ifeq ($(INSTALLER),pip)
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation --editable .
else
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation --editable .
endif
	@touch $@
