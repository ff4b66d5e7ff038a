# hafen: everything a person types. `make` alone lists it.
PYTHON := .venv/bin/python
PACKAGES := shared node_agent scheduler deploy
SOURCES := $(PACKAGES) tests $(wildcard bench)
# No address of a package index and no comment header may enter a lock file: users have their own index.
LOCK := .cache/lock/bin/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header
PYTEST := $(PYTHON) -m pytest -ra --durations=10
UNITS := tests/unit tests/test_tidy.py
.DEFAULT_GOAL := help
.PHONY: help setup demo check check-types check-tests test test-only test-each test-labs test-last test-alone test-sim sim mutants bench bench-failover bench-rollout bench-quiet chaos chaos-net lock proto clean host venv

help: ## List what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

setup: host venv ## Install what is missing: Debian packages and .venv (as root)

demo: setup ## Services under load; a host dies, then a good and a bad version come (as root, a minute)
	@.venv/bin/hafen lab demo

check: ## Format, lint, types, layers, unit and tidy tests (no root)
	@deploy/setup/venv.sh dev
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target check-types check-tests

check-types:
	$(PYTHON) -m ruff format --check $(SOURCES)
	$(PYTHON) -m ruff check $(SOURCES)
	$(PYTHON) -m mypy
	.venv/bin/lint-imports

# By file: what the tests of a file share, such as all syntax trees, is made once.
check-tests:
	$(PYTHON) -m pytest -q -n auto --dist loadfile -m "not real" tests/unit tests/test_tidy.py

test: setup ## Every test there is, also those on real etcd, crun, HAProxy and kernel (as root)
	@deploy/setup/host.sh --tests
	@deploy/setup/venv.sh dev
	@$(MAKE) --no-print-directory --keep-going $(if $(ONLY),test-only,test-each test-labs test-last)

test-only:
	$(PYTEST) $(ONLY)

# Each of these makes its own namespaces and is done in seconds.
test-each:
	$(PYTEST) -n 4 --dist loadfile tests/contract $(UNITS)

# Labs mostly wait for hosts to come and go; more than three at once are more than two cores carry.
# The files that take longest come first (conftest.py); xdist would take those with most tests.
test-labs:
	$(PYTEST) -n 3 --dist loadfile --no-loadscope-reorder -m "not alone" tests/integration

# The simulation takes only what the others leave; what either says comes when it is done.
test-last:
	@echo "make: what needs the machine to itself, and the simulation: some minutes"
	@$(MAKE) --no-print-directory --keep-going --jobs=2 --output-sync=target test-alone test-sim

test-alone:
	$(PYTEST) -m alone tests/integration tests/chaos

# The seeds come last: what runs beside the simulation is over before them, and both cores are theirs.
SEEDED := tests/sim/test_sim.py
test-sim:
	$(PYTEST) $(filter-out $(SEEDED),$(wildcard tests/sim/test_*.py)) $(SEEDED)

sim: ## Many seeds of the simulation, on all cores: make sim SEEDS=100000
	@deploy/setup/venv.sh dev
	SEEDS=$(or $(SEEDS),10000) $(PYTHON) -m pytest -q -s tests/sim/test_sim.py

mutants: ## Broken Compose files, on one core: make mutants MUTANTS=10000
	@deploy/setup/venv.sh dev
	MUTANTS=$(or $(MUTANTS),10000) $(PYTHON) -m pytest -q --timeout=1200 \
		tests/unit/deploy/compose/test_mutants.py

bench: setup ## Measure, and write the figures to bench/out
	@deploy/setup/host.sh --bench
	@deploy/setup/venv.sh dev
	$(PYTHON) -m bench

bench-failover: setup ## Hosts die under load: make bench-failover RUNS=20 FAULT=vanish SERVICE=single NODES=3 VIA=holder RATE=300
	@deploy/setup/venv.sh bench
	$(PYTHON) -m bench.failover --runs $(or $(RUNS),20) --nodes $(or $(NODES),3) \
		--fault $(or $(FAULT),all) --service $(or $(SERVICE),all) --via $(or $(VIA),host) --rate $(or $(RATE),150)
	$(PYTHON) -m bench.picture

bench-rollout: setup ## New versions, good and bad, under load: make bench-rollout RUNS=10 CASE=six
	@deploy/setup/venv.sh dev
	$(PYTHON) -m bench.rollout --runs $(or $(RUNS),10) --case $(or $(CASE),all) --nodes $(or $(NODES),3)

bench-quiet: setup ## False alarms with nothing to do, or BUSY=1: make bench-quiet MINUTES=30
	@deploy/setup/venv.sh dev
	$(PYTHON) -m bench.quiet --minutes $(or $(MINUTES),$(if $(BUSY),10,30)) \
		--nodes $(or $(NODES),3) $(if $(BUSY),--busy)

chaos: setup ## Break a real lab many times, look for two copies of one thing: make chaos RUNS=200
	@deploy/setup/venv.sh dev
	$(PYTHON) -m tests.chaos.run --runs $(or $(RUNS),200) --seed $(or $(SEED),1) --nodes $(or $(NODES),3)

chaos-net: setup ## Delete links, routes, rules, processes under load: make chaos-net MINUTES=10 NETWORK=vxlan
	@deploy/setup/venv.sh dev
	$(PYTHON) -m tests.chaos.net --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1) \
		--nodes $(or $(NODES),3) --network $(or $(NETWORK),routed)

lock: ## Choose the newest versions that fit and pin them with hashes
	python3 -m venv .cache/lock
	.cache/lock/bin/pip install --quiet pip-tools
	$(LOCK) --upgrade --output-file requirements/build.txt requirements/build.in
	$(LOCK) --upgrade --output-file requirements/runtime.txt requirements/runtime.in
	$(LOCK) --upgrade --constraint requirements/runtime.txt \
		--output-file requirements/dev.txt requirements/dev.in
	$(LOCK) --upgrade --constraint requirements/runtime.txt --constraint requirements/dev.txt \
		--output-file requirements/bench.txt requirements/bench.in
	$(LOCK) --upgrade --output-file requirements/codegen.txt requirements/codegen.in

proto: ## Generate the etcd messages again from shared/etcd/proto/etcd.proto
	python3 -m venv .cache/codegen
	.cache/codegen/bin/pip install --quiet --require-hashes -r requirements/codegen.txt
	PYTHON=$(CURDIR)/.cache/codegen/bin/python shared/etcd/proto/generate.sh

clean: ## Remove everything that was made here, .venv included
	rm -rf .venv .cache build dist bench/out ./*.egg-info .hypothesis .mypy_cache .ruff_cache \
		.import_linter_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

host:
	@deploy/setup/host.sh

venv:
	@deploy/setup/venv.sh
