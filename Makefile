BIN := .venv/bin

# Compiled modules are kept, whatever the environment says: each worker and hundreds of programs load them.
unexport PYTHONDONTWRITEBYTECODE

# Six tests at a time keep two cores busy, because most of them wait for something; those without sockets never wait.
# The tests of one file run one after the other, in the order of the folders.
JOBS = 6
PYTEST := $(BIN)/python -m pytest -rfEs
SPREAD = -n $(JOBS) --dist loadfile --no-loadscope-reorder
PURE := tests/wire tests/security
FILES := tests/config tests/bench tests/release $(wildcard tests/test_*.py)
OTHERS := $(addprefix --ignore=,$(PURE) $(FILES))
COVERAGE := --cov=backhaul.wire --cov=backhaul.security --cov-report=term-missing:skip-covered --cov-fail-under=100

.PHONY: help demo check quick pure files test sockets lint bench soak survive docs dist constraints clean
.DEFAULT_GOAL := help

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 20

demo: ## try the program on this machine until Ctrl-C; with ONCE=1 it ends by itself
	@tools/setup.sh demo
	@$(BIN)/python -m backhaul demo $(if $(ONCE),--once)

check: ## the quick part of `make test`, about a minute: lint, tests without sockets, coverage of the protocol core
	@tools/setup.sh lint
	@$(MAKE) --no-print-directory -j3 quick

# Each part shows its output when it has ended.
quick:
	@$(MAKE) --no-print-directory --output-sync=target lint pure files

pure:
	$(PYTEST) $(COVERAGE) $(PURE) $(ARGS)

files:
	$(PYTEST) $(FILES) $(ARGS)

test: export SOCKETS_ARGS = $(ARGS)
test: ## everything that has to pass, in about 6 minutes; ARGS='-m "not slow and not interop and not browser"' for less
	@tools/setup.sh test
	@$(MAKE) --no-print-directory -j4 quick sockets ARGS= || \
		{ echo "Not everything has passed: a line with *** names each part that failed, below its output." >&2; exit 1; }

sockets: .venv/.compiled
	$(PYTEST) $(SPREAD) $(OTHERS) $(SOCKETS_ARGS)

# In a new environment one process compiles all modules, so that six processes do not each do so.
.venv/.compiled:
	@$(PYTEST) --collect-only -q $(OTHERS) >/dev/null && touch $@ || true # the tests show mistakes

lint: ## style, types, direction of imports
	@tools/setup.sh lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: ## measure beside HAProxy; PEERS="v072=program rathole=program frp=folder" adds others; ARGS="--quick" for less
	@tools/setup.sh bench
	$(BIN)/python -m bench $(addprefix --peer ,$(PEERS)) $(ARGS)

soak: ## rewrite configuration files, and change transports, under traffic for ten minutes; ARGS="--minutes 1" for less
	@tools/setup.sh bench
	$(BIN)/python -m bench.scenarios.soak $(ARGS)

survive: ## reset, silence and move the line of tunnels with users, as root; PEERS as above; ARGS="--seconds 60" for less
	@tools/setup.sh bench
	$(BIN)/python -m bench.survive $(addprefix --peer ,$(PEERS)) $(ARGS)

docs: ## make the site of the documentation in build/docs/site, for reading without a network
	@tools/setup.sh lint
	$(BIN)/python -m release.docs build/docs

dist: export SOURCE_DATE_EPOCH = $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
dist: export PYTHONHASHSEED = 0
dist: ## make the wheel, the program with Python inside and Debian's package in dist/, and try them
	@tools/setup.sh dist
	rm -rf dist
	build/venv/bin/pyproject-build --no-isolation
	build/venv/bin/pyinstaller --noconfirm --log-level WARN --distpath build/packed --workpath build/work release/backhaul.spec
	cp build/packed/backhaul-linux-$$(uname -m) dist
	build/venv/bin/python -m release.probe dist/backhaul-linux-$$(uname -m)
	build/venv/bin/python -m release.debian build/packed/backhaul dist
	cd dist && sha256sum * >SHA256SUMS

constraints: ## renew constraints.txt: the versions with which the tests, the image and `make dist` run
	tools/constraints.sh

clean: ## remove the environment and everything made here
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
	find bench src tests -name __pycache__ -prune -exec rm -rf {} +
