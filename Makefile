# Everything that needs set-up does it first: on a fresh Debian or Ubuntu, `make demo` and `make test` want
# root, python3 >= 3.11 and make, and nothing else. What was set up is kept until pyproject.toml or a lock file
# changes. The lock files in packaging/requirements/ name each version that is installed, with its hashes.

PYTHON ?= python3
VENV ?= .venv
# Tests wait as often as they compute.
JOBS ?= $(shell expr $$(nproc) '*' 3 / 2)
comma := ,
empty :=
PURE_PACKAGES := model config packet tracing protocol reload reconcile status
PURE := $(subst $(empty) $(empty),$(comma),$(PURE_PACKAGES:%=mcrelay/%/*.py))
PREFIX ?= /usr/local

PY := $(VENV)/bin/python
SPHINX = $(PY) -m sphinx -E -W --keep-going -q -d build/doctrees/$@
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
LOCKS := packaging/requirements
KERNEL_SOURCE := $(wildcard mcrelay/kernel/program/*)
KERNEL_OBJECT := mcrelay/kernel/relay.bpfel.o
RUNTIME ?= runtime
TEST ?= test
UNIT ?= tests
# What depends on the versions of libraries: the packages that use one.
VERSIONED = $(addprefix tests/,cli config linux packet storage supervisor traffic worker)

unexport PYTHONWARNINGS  # pip itself fails where warnings are errors

.DEFAULT_GOAL := help
.PHONY: help demo test lint unit test-lowest test-latest test-hostile lock bench figures man html install-man clean root iproute2 groff tshark peers venv unlocked-latest unlocked-lowest unlocked-lock

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: root iproute2 $(VENV)/.installed ## relay real multicast between network namespaces, and show it (root)
	@$(PY) -m mcrelay demo

test: root iproute2 tshark groff lint ## lint, types, import contracts, every test, coverage (root)
	@data=$$(mktemp -d) && trap 'rm -rf "$$data"' EXIT && chmod 1777 "$$data" && \
	export COVERAGE_FILE="$$data/coverage" && `# workers write there too, and they are nobody` \
	$(PY) -m coverage run -m pytest -n $(JOBS) --dist worksteal --durations=10 && \
	$(PY) -m coverage combine --quiet && \
	$(PY) -m coverage report --fail-under=90 && \
	echo "The pure packages:" && \
	$(PY) -m coverage report --fail-under=100 --include='$(PURE)'

lint: $(VENV)/.installed-test ## ruff, mypy and the import contracts
	@$(PY) -m ruff check --quiet .
	@$(PY) -m ruff format --check --quiet . || { echo "not formatted; run: $(PY) -m ruff format ."; exit 1; }
	@$(PY) -m mypy --no-error-summary
	@$(VENV)/bin/lint-imports --no-logo

unit: $(VENV)/.installed-test ## the tests that need no root
	@$(PY) -m pytest -n $(JOBS) -m "not netns" $(UNIT)

test-lowest: ## the tests of what uses libraries with the oldest versions that pyproject.toml allows: Debian 12's
	@$(if $(PYTHON_3_11),$(MAKE) --no-print-directory VENV=build/venv-lowest RUNTIME=lowest TEST=lowest \
	PYTHON=$(PYTHON_3_11) UNIT="$(VERSIONED)" unit,$(MAKE) --no-print-directory VENV=build/venv-lowest unlocked-lowest)

test-latest: ## the tests of what uses libraries with the newest versions that the package index has
	@rm -rf build/venv-latest
	@$(MAKE) --no-print-directory VENV=build/venv-latest unlocked-latest

test-hostile: root iproute2 tshark groff $(VENV)/.installed-test ## every test, with the worst that a parent process can leave to it (root)
	@folder=$$(mktemp -d "/tmp/a XXXX") && trap 'rm -rf "$$folder"' EXIT && `# short, as paths of sockets are` \
	$(PY) tests/hostile_environment.py "$$folder" $(abspath $(PY)) -m pytest -n $(JOBS) --dist worksteal

lock: ## renew the lock files: the newest versions, for every Python and machine that mcrelay supports
	@rm -rf build/venv-lock
	@$(MAKE) --no-print-directory VENV=build/venv-lock unlocked-lock

bench: root iproute2 peers $(VENV)/.installed-bench ## how fast it is beside its peers (root; 25 minutes; QUICK=1: 4; ONLY=rate,latency)
	@$(PY) -m benchmarks $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

figures: $(VENV)/.installed-bench ## write the figures of the last whole `make bench` into README.md and the manual
	@$(PY) -m benchmarks.publish

man: $(VENV)/.installed-docs ## build the man pages: build/man/
	@rm -rf build/man
	@$(SPHINX) -b man packaging/manual build/man

html: $(VENV)/.installed-docs ## build the same manual for a browser: build/html/index.html
	@rm -rf build/html
	@$(SPHINX) -b html packaging/manual build/html

install-man: man ## install the man pages below $(PREFIX)/share/man (PREFIX=/usr/local; DESTDIR for packages)
	@for page in build/man/*; do \
	install -D -m 644 "$$page" "$(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/}" || exit 1; done

clean: ## remove the virtual environment and what tools left behind
	@rm -rf $(VENV) $(KERNEL_OBJECT) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage* htmlcov build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The program of the kernel data plane. Its compiler is a wheel of 100 MB, so it is fetched only if the object is
# not current (it has a hash of its source), and two of its files are unpacked. Without it, userspace relays all.
$(KERNEL_OBJECT): $(KERNEL_SOURCE) packaging/kernel_program.py $(LOCKS)/compiler.txt | venv
	@$(PY) packaging/kernel_program.py || { echo "compiling the kernel data plane ..." && \
	$(PY) -m pip --quiet --disable-pip-version-check download --require-hashes --no-deps --dest build/compiler \
	--requirement $(LOCKS)/compiler.txt && $(PY) packaging/kernel_program.py build/compiler/*.whl; } || \
	{ rm -f $@; echo "mcrelay is installed without the kernel data plane"; }
	@rm -rf build/compiler; [ ! -e $@ ] || touch $@

# hatchling comes from a lock file, too: pip would install the newest one to build with.
$(VENV)/.installed: pyproject.toml $(LOCKS)/build.txt $(LOCKS)/$(RUNTIME).txt $(KERNEL_OBJECT) | venv
	@$(PIP) --require-hashes --requirement $(LOCKS)/build.txt --requirement $(LOCKS)/$(RUNTIME).txt
	@$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/.installed-test: $(LOCKS)/$(TEST).txt $(VENV)/.installed
	@$(PIP) --require-hashes --requirement $<
	@touch $@

$(VENV)/.installed-%: $(LOCKS)/%.txt $(VENV)/.installed
	@$(PIP) --require-hashes --requirement $<
	@touch $@

# Each of these has a virtual environment of its own, below build/, in which nothing is locked.

PYTHON_3_11 = $(shell for python in $(PYTHON) python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo $$python && break; done)

unlocked-latest: venv $(KERNEL_OBJECT)
	@$(PIP) --upgrade pip
	@$(PIP) --editable . --group test
	@$(PY) -m pytest -n $(JOBS) -m "not netns" $(VERSIONED)

# Without Python 3.11, which is Debian 12's, some of its versions cannot be installed: then the oldest that can.
unlocked-lowest: venv $(KERNEL_OBJECT)
	@echo "There is no Python 3.11: with $$($(PY) --version), the oldest versions that have wheels for it."
	@$(PIP) uv
	@$(VENV)/bin/uv pip install --quiet --python $(PY) --resolution lowest-direct --only-binary numpy \
	--only-binary PyYAML --editable .
	@$(PY) -m pip freeze --exclude-editable >$(VENV)/lowest.txt
	@sed -n 's/ *\\$$//; /^[a-z0-9]/p' $(LOCKS)/test.txt | \
	grep -viE "^($$(sed 's/==.*//' $(VENV)/lowest.txt | paste -sd '|'))==" >$(VENV)/tools.txt
	@$(VENV)/bin/uv pip install --quiet --python $(PY) --constraints $(VENV)/lowest.txt --constraints $(VENV)/tools.txt \
	--group test
	@cat $(VENV)/lowest.txt
	@$(PY) -m pytest -n $(JOBS) -m "not netns" $(VERSIONED)

compile = $(VENV)/bin/uv pip compile --quiet --upgrade --custom-compile-command "make lock" --output-file
locked = --universal --generate-hashes --constraints $(LOCKS)/test.txt

unlocked-lock: venv
	@$(PIP) uv
	@$(compile) $(LOCKS)/test.txt --universal --generate-hashes pyproject.toml --group test --group build
	@$(compile) $(LOCKS)/runtime.txt $(locked) pyproject.toml
	@for group in build compiler docs bench; do $(compile) $(LOCKS)/$$group.txt $(locked) --group $$group || exit 1; done
	@$(compile) $(VENV)/lowest.txt --python-version 3.11 --resolution lowest-direct pyproject.toml
	@$(compile) $(LOCKS)/lowest.txt --python-version 3.11 --generate-hashes pyproject.toml --group test --group build \
	--constraints $(VENV)/lowest.txt --constraints $(LOCKS)/build.txt

# The rest asks what is there, each time, and installs only what is missing.

apt = apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends

root:
	@[ "$$(id -u)" = 0 ] || { echo "this builds network namespaces and needs root: sudo make $(MAKECMDGOALS)"; exit 1; }

iproute2:
	@command -v ip >/dev/null || { echo "installing iproute2 ..."; $(apt) iproute2 >/dev/null; }

groff:
	@command -v groff >/dev/null || { echo "installing groff-base ..."; $(apt) groff-base >/dev/null; }

tshark:
	@command -v tshark >/dev/null || { echo "installing tshark ..."; $(apt) tshark >/dev/null; }

peers:
	@missing=$$(command -v socat >/dev/null || echo socat; command -v smcrouted >/dev/null || echo smcroute; \
	command -v nft >/dev/null || echo nftables); \
	[ -z "$$missing" ] || { echo "installing" $$missing "..."; ($(apt) $$missing) >/dev/null; }

venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "mcrelay needs Python 3.11 or later; say which: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || [ "$$(id -u)" != 0 ] || \
	{ echo "installing python3-venv ..."; $(apt) python3-venv >/dev/null; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	{ echo "Python's venv is missing: apt install python3-venv"; exit 1; }
	@[ -x $(PY) ] || { echo "setting up $(VENV) ..."; $(PYTHON) -m venv $(VENV); }
