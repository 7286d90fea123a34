# Everything a developer does here. Needs Python 3.11 or newer and make; the rest is set up in .venv.
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS_VENV := .venv-peers
PEERS_READY := $(PEERS_VENV)/.ready
COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links

# Install a lock file with a Python, counting the packages so that somebody who waits sees it go on. What pip warns of
# goes through as it is; the pipe would hide its exit code.
define install
all=$$(grep -c '^[A-Za-z].*==' $(2)); status=$$(mktemp); \
{ $(1) -m pip install --disable-pip-version-check --no-input --progress-bar off --require-hashes -r $(2); echo $$? > $$status; } | \
	awk -v all=$$all '/^Collecting /{printf "\r  package %d of %d", ++n, all; fflush()} \
	/^Installing collected/{printf "\r  %d packages are here; installing them …\n", n; fflush()} END{if (!n) print ""}'; \
code=$$(cat $$status); rm -f $$status; exit $$code
endef

.DEFAULT_GOAL := help
.PHONY: help setup demo dev test compat chaos bench check format ci deploy-check lock clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## Make .venv with everything in it

$(READY): requirements-dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Callboard needs Python 3.11 or newer; none was found on PATH." >&2; exit 1; }
	@echo "Setting up .venv (once; about a minute) …"
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module does not work here; on Debian it is the package python3-venv." >&2; exit 1; }
	@$(call install,$(BIN)/python,requirements-dev.lock)
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)  ## Run a shop's morning through the whole service (ARGS=--exit ends by itself)
	@$(BIN)/callboard demo $(ARGS)

dev: $(READY)  ## Run the service for daily work: database, mail server, YooKassa sandbox, API, workers
	@$(BIN)/callboard dev $(ARGS)

test: $(READY)  ## Run the tests (ARGS=… goes to pytest)
	@# In more processes than there are cores: most tests wait for other programs. A file stays together, as do its
	@# server and workers. ARGS="-n 2" is for a machine that is busy with other things. In the order of the folders, and
	@# not with the files of the fewest tests last, whose tests are the longest: acceptance tests begin, units fill the end.
	@$(BIN)/python -m pytest -n 5 --dist loadfile --no-loadscope-reorder $(ARGS)

compat: $(READY)  ## Run the broker's tests on Dramatiq 2 and on every other Python that is installed (ARGS=… goes to pytest)
	@.ci/compat $(ARGS)

chaos: $(READY)  ## Break real workers, networks and databases for half an hour (ARGS=… goes to pytest)
	@$(BIN)/python -m pytest tests/chaos --chaos=long $(ARGS)

bench: $(READY) $(PEERS_READY)  ## Measure ours and the peers side by side (ARGS=--quick for a small run; needs redis-server)
	@$(BIN)/python -m benchmarks $(ARGS)

$(PEERS_READY): benchmarks/requirements-peers.lock
	@echo "Setting up .venv-peers for the other queues (once; about a minute) …"
	@$(PYTHON) -m venv $(PEERS_VENV)
	@$(call install,$(PEERS_VENV)/bin/python,benchmarks/requirements-peers.lock)
	@touch $@

check: $(READY)  ## Lint, formatting, types, import layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(READY)  ## Put the code into its form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

deploy-check: $(READY)  ## Check Dockerfile, compose file and Kubernetes manifests (needs kubectl)
	@$(BIN)/python -m pytest -m deploy tests/deploy

ci: check test deploy-check  ## Everything that must pass before a commit lands
	@$(BIN)/callboard demo --exit

lock: $(READY)  ## Bring the lock files in line with pyproject.toml, with hashes and without addresses
	@$(COMPILE) --extra service --extra s3 --build-deps-for wheel --output-file requirements.lock pyproject.toml
	@$(COMPILE) --extra dev --output-file requirements-dev.lock pyproject.toml
	@# Callboard itself stands in the second one, by its path; that line and the remark about it go.
	@sed -e '/^# WARNING: pip install/,/^# Consider/d' -e '/^callboard @/,/^    #/d' requirements-dev.lock > requirements-dev.lock.new
	@mv requirements-dev.lock.new requirements-dev.lock
	@$(COMPILE) --output-file benchmarks/requirements-peers.lock benchmarks/requirements-peers.txt

clean:  ## Remove what the commands above made
	rm -rf $(VENV) $(PEERS_VENV) .venv-compat .callboard build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
