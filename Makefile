# The commands of this checkout. Everything is bootstrapped: a fresh Debian 12 with git, make and
# Python 3.11 is enough. ARGS goes to the program: make demo ARGS="--history 2h", make test ARGS="-k outbox".
.PHONY: demo test check sparkplug interop peers bench soak fuzz
BIN := .venv/bin
READY := .venv/.ready
PEERS := .tools/interop/.ready
# The soak's shim is compiled when it runs: gcc and the C library's headers.
COMPILES := echo '\#include <stdio.h>' | gcc -E - >/dev/null 2>&1

demo: $(READY)
	@$(BIN)/telomere demo $(ARGS)

test: $(READY) $(PEERS)
	@deploy/bootstrap.sh apt mosquitto chromium openssl influxdb victoria-metrics mbpoll
	@$(COMPILES) || deploy/bootstrap.sh apt gcc libc6-dev
	$(BIN)/pytest $(ARGS)

# Every step runs, so that all faults are seen at once; the exit code is 1 if any failed.
check: $(READY)
	@failed=0; \
	for step in "ruff check" "ruff format --check" "mypy" "lint-imports --no-logo" "python tests/shape/gates.py"; do \
	  echo "--- $$step"; $(BIN)/$$step || failed=1; \
	done; \
	exit $$failed

# Every assertion of the Sparkplug B specification: passed, not applicable, failed (docs/sparkplug.md).
sparkplug: $(READY)
	@deploy/bootstrap.sh apt mosquitto
	@$(BIN)/python -m tests.sparkplug.table

# Foreign peers (npm sparkplug-client, pysparkplug, libmodbus, pymodbus) against our ends; part of make test too.
interop: $(READY) $(PEERS)
	@deploy/bootstrap.sh apt mosquitto mbpoll
	$(BIN)/pytest tests/interop $(ARGS)

peers: $(PEERS)

# A campaign of faults, judged against the truth (docs/soak.md).
soak: SECONDS ?= 120
soak: SEED ?= 1
soak: $(READY)
	@deploy/bootstrap.sh apt mosquitto
	@$(COMPILES) || deploy/bootstrap.sh apt gcc libc6-dev
	@$(BIN)/python -m tests.soak --seconds $(SECONDS) --seed $(SEED) $(ARGS)

# The store's figures of docs/benchmarks.md, with the peers in the same run: some ten minutes on a quiet machine.
# Others by name: make bench ARGS="judge" (`telomere bench` lists them).
bench: $(READY)
	@deploy/bootstrap.sh apt mosquitto victoria-metrics
	@command -v influxd >/dev/null 2>&1 || deploy/bootstrap.sh apt influxdb
	@deploy/bootstrap.sh bench
	@$(BIN)/telomere bench $(if $(ARGS),$(ARGS),store --docs docs/benchmarks.md)

fuzz:
	@echo "make $@: not built yet" >&2; exit 2

$(READY): uv.lock pyproject.toml deploy/bootstrap.sh
	@deploy/bootstrap.sh env
	@touch $@

$(PEERS): tests/interop/package.json tests/interop/requirements.txt deploy/bootstrap.sh
	@deploy/bootstrap.sh peers
	@touch $@
