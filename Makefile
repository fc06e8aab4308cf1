# The commands of ipckit. `make` alone prints them.
# Needs python3 (3.11 or newer), a C compiler and make; all else comes from the package index.

PYTHON ?= python3
# A Python that is named (make check PYTHON=python3.13) has an environment of its own, .venv-3.13.
ifneq ($(origin PYTHON),file)
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2] + sys.abiflags)')
$(if $(VERSION),,$(error PYTHON=$(PYTHON) does not run))
endif
VENV   := .venv$(addprefix -,$(VERSION))
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
BUILT  := $(VENV)/.built
CROSS  := $(VENV)/.cross
PYTEST := $(BIN)/python -m pytest -q
# So many tests at a time, each process of pytest with namespaces of its own (tests/leaks.py).
TOGETHER = --no-header --dist worksteal --tx '$(1)*popen//python=$(BIN)/python tests/leaks.py'
FAST   := tests/unit tests/property tests/contract tests/meta
# A fork copies the page tables of all that earlier tests left: these have processes of their own.
FORKS  := tests/harness tests/seeded
SUITES := $(sort $(foreach test,$(wildcard tests/*/test_*.py tests/*/*/test_*.py),tests/$(word 2,$(subst /, ,$(test)))))
SYSTEM_SOAK := cli/demo connections/both_ways connections/datagrams connections/many_connections connections/overload connections/tls_uploads connections/unix_reloads \
  primitives/table_processes supervision/manager_kills supervision/reload_load supervision/reload_wait supervision/soak \
  tasks/delivery tasks/kills tasks/load tasks/task_ledger
SOAK   := $(foreach each,$(SYSTEM_SOAK),tests/system/$(dir $(each))test_$(notdir $(each)).py) tests/contract/test_sync.py tests/harness tests/seeded tests/inject

# What an installation in place knows by name: the packages, too.
CORE   := $(shell find ipckit -name __init__.py) $(shell find ipckit/_core -name "*.[ch]") ipckit/_core/build.py CMakeLists.txt
BUILD_DIR := $(if $(VERSION),-C 'build-dir=build/cmake-$(VERSION)/{wheel_tag}-{state}')

.DEFAULT_GOAL := help
.PHONY: help setup build check test matrix suites forks soak sweep storm inject demo bench docs c-test killers weak wheel roots news clean

help: ## print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install -q --group dev cffi
	touch $@

$(BUILT): $(READY) $(CORE)
	$(BIN)/python -m pip install -q --no-build-isolation $(BUILD_DIR) -e .
	touch $@

# A server imports 130 modules of ours. Without their bytecode each start compiles them: 0.25 s of CPU.
unexport PYTHONDONTWRITEBYTECODE

# The compiler of the published wheel, 100 MB: only what needs it installs it.
$(CROSS): pyproject.toml $(READY)
	$(BIN)/python -m pip install -q --group wheel
	touch $@

setup: $(BUILT) ## make the virtual environment in .venv and build the C core (PYTHON=python3.13: in .venv-3.13)
build: $(BUILT)

check: $(BUILT) ## format, lint, types, tiers, fast tests (under a minute)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) $(call TOGETHER,2) $(FAST)

# Three at a time: `suites`, much of which waits, beside two that compute.
# `forks` begins at once, because it is the longest of those that compute.
test: $(BUILT) $(CROSS) ## everything: check, the C tests with sanitizers, and all slow suites
	$(MAKE) --no-print-directory -j3 --output-sync=line suites forks check c-test weak sweep storm

suites: $(BUILT) $(CROSS)
	$(PYTEST) $(call TOGETHER,3) $(filter-out $(FAST) $(FORKS) tests/roots,$(SUITES))

forks: $(BUILT)
	$(PYTEST) $(call TOGETHER,2) $(FORKS)

matrix: ## the suites on every Python that is here (ON="fast seeded": only these; VERSIONS="3.12 3.13"; ROUNDS=3; ROOTS=/a/debian)
	$(PYTHON) tests/matrix.py --roots "$(ROOTS)" --versions "$(VERSIONS)" $(if $(ROUNDS),--rounds $(ROUNDS)) $(ON)

soak: $(BUILT) killers ## the suites with a soak size, in full size (S=n: n seconds for each machine of the harness)
	IPCKIT_SOAK=1 $(PYTEST) -s --timeout 7200 $(if $(S),--ipckit-seconds=$(S)) $(SOAK)
	build/c/plain/tests/c/kill_sweep all 1
	build/c/plain/tests/c/kill_ledger 1
	build/c/plain/tests/c/kill_storm 1000000 100
	build/c/plain/tests/c/kill_queue 1 1
	build/c/plain/tests/c/kill_queue_storm 1000000 100
	tests/steps/run 100000

c-test: $(BUILT) ## the C tests under ASan, UBSan and TSan
	tests/c/run $(CURDIR)/$(BIN)

killers: $(READY)
	tests/c/run $(CURDIR)/$(BIN) plain

inject: $(BUILT) ## 3,000 system calls that fail, on every way of a server; prints the counts (2 minutes)
	PYTHONPATH=tests $(BIN)/python -m inject --size 3800

weak: ## the table's and the queue's sources under a weak memory model, the ledger's under preemption; sound, and with faults
	tests/weak/run
	tests/steps/run

sweep: killers ## kill -9 after every instruction of the calls of tables, shared queues and the ledger; prints the counts (45 s)
	build/c/plain/tests/c/kill_sweep all
	build/c/plain/tests/c/kill_sync
	build/c/plain/tests/c/kill_session
	build/c/plain/tests/c/kill_ledger 10
	build/c/plain/tests/c/kill_queue 1 28

storm: killers ## kill -9 at random, 20,000 times, of eight processes that work on one table, then on one queue
	build/c/plain/tests/c/kill_storm 20000 300
	build/c/plain/tests/c/kill_queue_storm 20000 100

demo: $(BUILT) ## the main job: 10,000 mails by task workers over a System V queue
	$(BIN)/ipckit demo

bench: $(BUILT) ## measure, and write the figures of the docs (B=name: only one file of bench/)
	$(BIN)/python -m pip install -q --group bench
	$(BIN)/python -m bench $(B)
	$(if $(B),,$(BIN)/python -m bench.report)

docs: $(BUILT) ## build the documentation, warnings are errors
	$(BIN)/python -m sphinx -q -E -W --keep-going -b html docs build/docs

wheel: $(READY) $(CROSS) ## build and check the wheel to publish, for glibc 2.28 and newer, into dist/
	$(BIN)/python tests/packaging/manylinux.py dist

roots: $(READY) $(CROSS) ## the wheel on fresh Debian 11, 12 and 13 (as root, with mmdebstrap; 15 minutes the first time)
	$(PYTEST) -s --timeout 7200 tests/roots

news: ## write a changelog fragment: make news NAME=part/slug.feature M="..."
	@test -n "$$M" -a -d "newsfragments/$${NAME%/*}" || { echo 'usage: make news NAME=part/slug.feature M="Added ..."'; echo "part: $$(ls -x newsfragments)"; exit 2; }
	@printf '%s\n' "$$M" > "newsfragments/$$NAME.md"

clean: ## remove what was built
	rm -rf build dist $(VENV)
