# The commands of this checkout. Everything is bootstrapped: a fresh Debian 12 with git, make and
# Python 3.11 is enough. ARGS goes to the program: make demo ARGS="--history 2h", make test ARGS="-k outbox".
.PHONY: demo test check bench soak fuzz
BIN := .venv/bin
READY := .venv/.ready

demo: $(READY)
	@$(BIN)/telomere demo $(ARGS)

test: $(READY)
	@deploy/bootstrap.sh apt mosquitto chromium
	$(BIN)/pytest $(ARGS)

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tests/shape/gates.py

bench soak fuzz:
	@echo "make $@: not built yet" >&2; exit 2

$(READY): uv.lock pyproject.toml deploy/bootstrap.sh
	@deploy/bootstrap.sh env
	@touch $@
