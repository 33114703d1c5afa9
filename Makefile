# Works with nothing but Python >= 3.11 and make: the virtual environment is built from the hashed lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Where it is set, as in many containers, each of hundreds of processes compiles everything again, and the sandbox does
# for each workflow.
unexport PYTHONDONTWRITEBYTECODE

# More than there are cores, since most tests mostly wait.
SIDE_BY_SIDE := --numprocesses 3 --dist loadfile --no-loadscope-reorder
QUICK := tests/unit tests/workflow $(addprefix tests/histories/test_,exports.py recorder.py scans.py) $(addprefix tests/integration/test_,$(addsuffix .py, \
	account_states barrier order_rows saga_rows stock_rows transfer_batches outbox projection in_doubt))

.DEFAULT_GOAL := help

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("shardwise needs Python 3.11 or newer")'
	@echo "shardwise: installing Python packages into $(VENV), a minute or two, this once" >&2
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: dev
dev: $(STAMP) ## build the virtual environment (.venv) with everything pinned
	@echo "shardwise: $(VENV) is ready; activate it: . $(BIN)/activate" >&2

.PHONY: demo
demo: $(STAMP) ## run real orders on real shards, end with a table of what happened to each
	@$(BIN)/shardwise demo $(DEMO_ARGS)

.PHONY: test
test: $(STAMP) ## run every test, on servers it starts itself
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(TEST_ARGS)

.PHONY: quick
quick: $(STAMP) ## the inner loop: rules, workflows, bad input, and the heart of what touches servers
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(QUICK) $(TEST_ARGS)

.PHONY: battery
battery: $(STAMP) ## every activity under every fault, as a table: make battery [ONLY=text] [BROKEN=barrier|decision|shield]
	@$(BIN)/python -m tests.faults.run --sandbox $(if $(ONLY),--only "$(ONLY)") $(if $(BROKEN),--broken $(BROKEN))

.PHONY: check
check: $(STAMP) ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: bench
bench: $(STAMP) ## orders per second beside a naive saga, as a ratio measured in one run
	@$(BIN)/python -m bench.orders $(BENCH_ARGS)

.PHONY: bench-verify
bench-verify: $(STAMP) ## seconds and memory of verify by the number of orders
	@$(BIN)/python -m bench.verify $(BENCH_ARGS)

.PHONY: contrast
contrast: $(STAMP) ## saga, two-phase commit and local side by side: docs/contrast.md and its picture, on a stack of its own
	@folder=$$(mktemp -d) && trap '$(BIN)/shardwise down --data-dir $$folder >&2; rm -rf $$folder' EXIT && \
		$(BIN)/shardwise up --detach --data-dir $$folder >&2 && \
		$(BIN)/shardwise import products cli/sample/products.csv --data-dir $$folder >&2 && \
		$(BIN)/shardwise contrast --data-dir $$folder --plot docs/contrast --markdown docs/contrast.md $(CONTRAST_ARGS)

.PHONY: bench-bulk
bench-bulk: $(STAMP) ## transfers per second of the bulk lane beside plain SQL and single workflows, as ratios
	@$(BIN)/python -m bench.bulk $(BENCH_ARGS)

.PHONY: bench-relay
bench-relay: $(STAMP) ## how late the read model is under load, and what following the events costs at rest
	@$(BIN)/python -m bench.relay $(BENCH_ARGS)

.PHONY: bench-projection
bench-projection: $(STAMP) ## events per second of the projection beside plain SQL; a rebuild while orders go on
	@$(BIN)/python -m bench.projection $(BENCH_ARGS)

.PHONY: bench-locks
bench-locks: $(STAMP) ## leases per second, and what the fence adds to a write, as a ratio measured in one run
	@$(BIN)/python -m bench.locks $(BENCH_ARGS)

.PHONY: bench-reads
bench-reads: $(STAMP) ## reads at each level from replicas that are behind, beside a session cache: docs/consistency.md and its picture
	@$(BIN)/python -m bench.reads --write docs/consistency $(BENCH_ARGS)

.PHONY: bench-balances
bench-balances: $(STAMP) ## what report balances costs over 3 and 6 shards beside one shard's part
	@$(BIN)/python -m bench.balances $(BENCH_ARGS)

.PHONY: soak
soak: $(STAMP) ## orders while parts are killed, then in peace: make soak MINUTES=30 [QUIET=10] [SEED=N]
	@$(BIN)/python -m tests.soak.run --minutes $(or $(MINUTES),10) --quiet-minutes $(or $(QUIET),10) $(if $(SEED),--seed $(SEED))

.PHONY: bank
bank: $(STAMP) ## transfers while parts are killed, every cent accounted for: make bank [SECONDS=60] [SEED=N] [RUNS=5]
	@$(BIN)/python -m tests.soak.bank_run --seconds $(or $(SECONDS),60) --runs $(or $(RUNS),5) $(if $(SEED),--seed $(SEED))

.PHONY: histories
histories: $(STAMP) ## what clients were told while servers are killed and frozen, checked: make histories [OPERATIONS=10000] [SEED=N]
	@$(BIN)/python -m tests.histories.run --operations $(or $(OPERATIONS),10000) $(if $(SEED),--seed $(SEED)) $(HISTORIES_ARGS)

.PHONY: replicas-away
replicas-away: $(STAMP) ## a replica frozen for minutes, then cloned anew, under load; and every commit at rest read back from one
	@$(BIN)/python -m tests.soak.replicas_away

.PHONY: outage
outage: $(STAMP) ## one shard away for a minute: what the others' orders notice of it, and when all are final again
	@$(BIN)/python -m tests.soak.outage

.PHONY: format
format: $(STAMP) ## rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lock
lock: ## renew requirements.lock (needs uv)
	uv pip compile --universal --generate-hashes --no-header --no-annotate --quiet --upgrade \
		--extra embedded --extra dev pyproject.toml --output-file requirements.lock
