# `make` runs the default study, `make test` passes the tests; both set up what they need in .venv.
PYTHON ?= python3
CORES ?= all
VENV := .venv
PEERS := .venv-peers
CLAWPACK := .venv-clawpack
SURROGATES := .venv-surrogates
BIN := $(CURDIR)/$(VENV)/bin
export PATH := $(BIN):$(PATH)

.PHONY: run audit test test-slow test-surrogates test-gpu test-slurm test-browser recover archive verify drill estimate gallery signature shipped compare schema lint format bench bench-linearize bench-reduction bench-peers bench-reader bench-ingest bench-groups bench-statistics bench-solvers bench-coupling snakemake-report clean
.DEFAULT_GOAL := run

run: $(VENV)/ready
	snakemake --cores $(CORES)

# Of trained networks: CONFIG=file, as workflow/presets/audit.yaml explains it.
audit: $(VENV)/ready
	@test -n "$(CONFIG)" || { echo "error: say which: make audit CONFIG=file; workflow/presets/audit.yaml is a template"; exit 1; }
	@test -f "$(CONFIG)" || { echo "error: CONFIG=$(CONFIG): no such file"; exit 1; }
	snakemake --cores $(CORES) --configfile $(CONFIG)

test: $(VENV)/ready
	pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 30 -m "not slow and not gpu and not slurm and not browser" tests/workflow tests/unit

test-slow: $(VENV)/ready
	pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow

# Networks of other packages, beside the environment of the lock, of those that want older ones, and data of other solvers.
test-surrogates: $(SURROGATES)/latest/ready $(SURROGATES)/pinned/ready $(SURROGATES)/physicsnemo/ready $(SURROGATES)/data/ready
	@for each in latest pinned physicsnemo data; do \
	  PATH="$(CURDIR)/$(SURROGATES)/$$each/bin:$(PATH)" python -m pytest -rP tests/surrogates || exit 1; \
	done

$(SURROGATES)/%/ready: tests/surrogates/%.txt $(VENV)/ready
	rm -rf $(@D)
	"$(PYTHON)" -m venv $(@D)
	python -c "import sys, sysconfig; print(sysconfig.get_path('purelib'), file=open(sys.argv[1], 'w'))" "$$($(@D)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/project.pth"
	$(@D)/bin/pip install --quiet --disable-pip-version-check --no-deps -r $<
	touch $@

test-gpu: $(VENV)/ready
	pytest -m gpu

# Installs SLURM (Debian, as root), starts a cluster of four machines made of namespaces, and ends them again.
test-slurm: $(VENV)/ready
	@keep=keep; trap 'tests/slurm/nodes.sh stop $$keep' EXIT; trap 'exit 130' INT TERM; \
	tests/slurm/nodes.sh start \
	  && pytest -m slurm --durations 30 --basetemp /var/lib/surroscope-nodes/shared/tests tests/slurm && keep=

# Installs Chromium (Debian, as root) where there is none. STUDY=results/name looks at that study's page.
test-browser: $(VENV)/ready
	@command -v chromium > /dev/null \
	  || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } \
	  || { echo "error: no chromium found; run 'sudo apt-get install chromium' and make again"; exit 1; }
	pip install --quiet --disable-pip-version-check -r tests/browser/requirements.txt
	pytest -m browser tests/browser

# After Snakemake was killed: ends the jobs that it left behind and unlocks.
recover: $(VENV)/ready
	python -P -m surroscope.tools.recover

# Of the study CONFIG=file [config.yaml]; `make verify` without CONFIG checks every study that is finished.
archive: $(VENV)/ready
	python -P -m surroscope.tools.archive $(if $(CONFIG),"$(CONFIG)")

verify: $(VENV)/ready
	python -P -m surroscope.tools.verify $(if $(CONFIG),"$(CONFIG)")

# Kills every stage and damages every kind of file of a study of its own, and counts what goes unnoticed.
drill: $(VENV)/ready
	python -m tests.drill $(if $(MINUTES),--minutes $(MINUTES))

estimate: $(VENV)/ready
	python -P -m surroscope.tools.estimate $(if $(CONFIG),"$(CONFIG)") $(if $(filter-out all,$(CORES)),--cores $(CORES))

# docs/gallery.md and docs/signature.md, of the study that has every figure, once it is finished.
gallery: $(VENV)/ready
	python -P -m surroscope.tools.gallery $(if $(CONFIG),"$(CONFIG)")

# How influence narrows as the error falls, of every finished study, or of STUDIES="results/a results/b".
signature: $(VENV)/ready
	python -P -m surroscope.tools.signature $(STUDIES)

# The numbers that other runs of the same settings are held against, of finished studies.
shipped: $(VENV)/ready
	python -P -m surroscope.tools.shipped $(or $(CONFIG),config.yaml)

# Finished studies side by side: STUDIES="results/a results/b".
compare: $(VENV)/ready
	python -P -m surroscope.tools.compare $(STUDIES)

# What editors complete a configuration by, after a change of surroscope/config/.
schema: $(VENV)/ready
	python -P -m surroscope.tools.schema

lint: $(VENV)/ready
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	mypy
	snakemake --lint

format: $(VENV)/ready
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow

bench: bench-linearize bench-reduction bench-reader bench-ingest bench-groups bench-statistics bench-solvers bench-coupling bench-peers

bench-linearize: $(VENV)/ready
	OMP_NUM_THREADS=1 python benchmarks/linearize.py

bench-reduction: $(VENV)/ready
	OMP_NUM_THREADS=1 python benchmarks/reduction.py

bench-reader: $(VENV)/ready
	OMP_NUM_THREADS=1 python benchmarks/reader.py

bench-ingest: $(VENV)/ready
	OMP_NUM_THREADS=1 python benchmarks/ingest.py $(GB)

bench-groups: $(VENV)/ready
	OMP_NUM_THREADS=1 python benchmarks/groups.py

bench-statistics: $(VENV)/ready
	OMP_NUM_THREADS=1 python benchmarks/class_statistics.py

bench-coupling: $(VENV)/ready
	OMP_NUM_THREADS=1 python benchmarks/coupling.py

# Where Clawpack cannot be installed, the benchmark says so and measures ours alone.
bench-solvers: $(VENV)/ready
	-$(MAKE) --no-print-directory $(CLAWPACK)/ready
	OMP_NUM_THREADS=1 python benchmarks/solvers.py

# Compiled on installation.
$(CLAWPACK)/ready: benchmarks/clawpack-requirements.txt
	@command -v gfortran > /dev/null \
	  || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq --no-install-recommends gfortran; } \
	  || { echo "error: Clawpack needs gfortran; run 'sudo apt-get install gfortran' and make again"; exit 1; }
	rm -rf $(CLAWPACK)
	"$(PYTHON)" -m venv $(CLAWPACK)
	$(CLAWPACK)/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

bench-peers: $(VENV)/ready $(PEERS)/ready
	snakemake --cores $(CORES) --configfile workflow/presets/quick.yaml --until train
	python benchmarks/peers.py case
	$(PEERS)/bin/python benchmarks/peers.py run

# Other libraries want older versions of what the workflow uses, so they have an environment of their own.
$(PEERS)/ready: benchmarks/peers-requirements.txt
	rm -rf $(PEERS)
	"$(PYTHON)" -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

snakemake-report: $(VENV)/ready
	snakemake --report results/snakemake-report.html

# A stamp newer than the lock: the environment holds what the lock says.
$(VENV)/ready: requirements.lock
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $$('$(PYTHON)' --version) found, Python 3.11 or newer expected; run 'make PYTHON=/path/to/python3.11'"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip' 2>/dev/null \
	  || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq python3-venv; } \
	  || { echo "error: $(PYTHON) cannot make virtual environments; run 'sudo apt-get install python3-venv' and make again"; exit 1; }
	@echo "once: the Python packages of requirements.lock, 2 GB, into $(VENV); some minutes in which nothing is printed"
	@$(if $(filter-out run,$(MAKECMDGOALS)),:,echo "then: the study of config.yaml, which says first what it takes; as shipped 11 to 14 minutes on 2 cores")
	rm -rf $(VENV)
	"$(PYTHON)" -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf $(VENV) $(PEERS) $(CLAWPACK) $(SURROGATES) .snakemake .pytest_cache .ruff_cache .mypy_cache .hypothesis
	@echo "data/ and results/ are kept; remove them by hand if you mean to"
