# make demo, make test: all the set-up there is. Needs Python 3.11 or newer and make.
PYTHON ?= python3
OUTPUT := build/tweets.scored.parquet
# Read by pip, also for what builds the package (older pips: PIP_CONSTRAINT, newer: PIP_BUILD_CONSTRAINT).
PIP_SETTINGS := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1
# Tests wait for brokers and processes more than they compute: more workers than cores, as memory allows.
WORKERS ?= 4
# Whole files to each worker, in the order of tests/conftest.py. Modules are compiled once, whatever the
# environment says: the tests start hundreds of processes.
PYTEST := env -u PYTHONDONTWRITEBYTECODE .venv-dev/bin/python -m pytest -q --dist loadfile --no-loadscope-reorder
AGAIN := echo 'Once more, alone:' && $(PYTEST) -n 0 -v --exitfirst --last-failed --last-failed-no-failures none
CODE := sentstream train tests benchmarks examples deploy recipes tools

define CHECK_PYTHON
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "sentstream needs Python 3.11 or newer; name one: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
endef

define NEW_VENV
$(CHECK_PYTHON)
@$(PYTHON) -c 'import ensurepip, venv' || \
	{ echo "this Python cannot make virtual environments; on Debian: apt install python3-venv" >&2; exit 1; }
$(PYTHON) -m venv --clear $(@D)
endef

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help man demo demo-kafka broker servers check test test-long test-faults test-cuda stack-test lint docs format models bench \
	bench-stream bench-cuda wheel clean

help:
	@echo "make demo          install the runtime into .venv, score examples/tweets.parquet, print the result"
	@echo "make demo-kafka    the same with a Kafka broker, tweets that come in, and dead letters; needs Java and Maven"
	@echo "make check         style, types and the fast tests: what to run after each change"
	@echo "make test          all of it: everything into .venv-dev, style, types, every test, the docs as a site"
	@echo "make test-long     every test with ten times as many drawn cases and kills: an hour or more"
	@echo "make test-faults   kill consume, the broker and more, for long, and count every tweet"
	@echo "make test-cuda     the tests that need an NVIDIA GPU, in .venv-cuda; without one they fail"
	@echo "make stack-test    bring docker-compose.yml up, break it, count every message, take it down; needs Docker"
	@echo "make lint          style and types only"
	@echo "make format        let ruff put the style right"
	@echo "make models        train the models that ship anew, step by step, into build/models; needs the data"
	@echo "make bench         measure speed and memory, and Keras, VADER, fastText and more in the same run"
	@echo "make bench-stream  measure what scoring costs a stream"
	@echo "make bench-cuda    measure a GPU beside the CPU, in .venv-cuda"
	@echo "make man           write the manual pages into build/man"
	@echo "make wheel         build the wheel into dist/"
	@echo "make clean         remove what the others made"

demo: .venv/installed
	@mkdir -p build
	.venv/bin/sentstream score examples/tweets.parquet --output $(OUTPUT) --overwrite
	@.venv/bin/python examples/demo.py $(OUTPUT)
	@echo 'Yours next: .venv/bin/sentstream score FILE.parquet'
	@echo 'To leave the path out in this shell: . .venv/bin/activate'

demo-kafka: broker .venv/installed
	@.venv/bin/python examples/demo_kafka.py

# First of all: what is missing is said before anything is installed.
broker:
	$(CHECK_PYTHON)
	@$(PYTHON) examples/demo_kafka.py --fetch

check: lint
	$(PYTEST) -n 3 -m 'not slow'

# Built and fetched before the tests, which wait for no compiler, and start brokers from one archive of classes.
# Chromium is from Debian's packages, where this is root and it is missing.
servers: .venv-dev/installed
	@.venv-dev/bin/python -m tools.local_stores --fetch
	@.venv-dev/bin/python -m tools.kubernetes --fetch
	@.venv-dev/bin/python tools/local_kafka.py --fetch
	@.venv-dev/bin/python tools/local_browser.py --fetch

# What fails beside other tests and brokers is run once more, alone, up to the first that fails again. One that
# passes then is named in the output and is a defect all the same: of the code, or of the test.
test: lint docs servers
	$(PYTEST) -n $(WORKERS) || { test $$? -eq 1 && $(AGAIN); }

test-long: lint servers
	SENTSTREAM_TESTS=long $(PYTEST) -n $(WORKERS) --timeout 7200 -o faulthandler_timeout=7500

test-faults: .venv-dev/installed
	SENTSTREAM_FAULTS=long .venv-dev/bin/python -m pytest -q -s --timeout 3600 -o faulthandler_timeout=4000 \
		tests/kafka/consume/test_faults.py tests/kafka/consume/test_outages.py

test-cuda: .venv-cuda/installed
	SENTSTREAM_TEST_CUDA=1 .venv-cuda/bin/python -m pytest -q -m cuda tests/cuda

stack-test:
	$(PYTHON) deploy/check.py

lint: .venv-dev/installed
	.venv-dev/bin/ruff check $(CODE)
	.venv-dev/bin/ruff format --check $(CODE)
	.venv-dev/bin/mypy

# As a site in site/; a link that leads nowhere is an error.
docs: .venv-dev/installed
	.venv-dev/bin/zensical build --clean --strict

format: .venv-dev/installed
	.venv-dev/bin/ruff check --fix $(CODE)
	.venv-dev/bin/ruff format $(CODE)

models: .venv-dev/installed
	.venv-dev/bin/python recipes/make_models.py

bench: .venv-dev/installed
	$(PIP_SETTINGS) .venv-dev/bin/python -m pip install --quiet -e '.[bench]'
	.venv-dev/bin/python benchmarks/run.py

bench-stream: .venv-dev/installed
	.venv-dev/bin/python benchmarks/stream.py

bench-cuda: .venv-cuda/installed
	.venv-cuda/bin/python benchmarks/cuda.py

man: .venv/installed
	.venv/bin/python tools/man_pages.py build/man

# pip alone is enough: it builds in an environment of its own, with what [build-system] names and no more.
wheel: .venv-wheel/installed
	$(PIP_SETTINGS) .venv-wheel/bin/python -m pip wheel --no-deps --wheel-dir dist .

clean:
	rm -rf .venv .venv-dev .venv-cuda .venv-wheel build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find sentstream train tests benchmarks examples tools -name __pycache__ -prune -exec rm -rf {} +

.venv/installed: EXTRAS := cpu
.venv-dev/installed: EXTRAS := cpu,cloud,fsspec,delta,iceberg,fast-kafka,ray,spark,train,nltk,dev
# An environment of its own: onnxruntime and onnxruntime-gpu install the same module.
.venv-cuda/installed: EXTRAS := cuda,test

# The stamp is written last, so an installation that was cut short starts again.
.venv/installed .venv-dev/installed .venv-cuda/installed: pyproject.toml constraints.txt
	$(NEW_VENV)
	$(PIP_SETTINGS) $(@D)/bin/python -m pip install --quiet -e '.[$(EXTRAS)]'
	@touch $@

.venv-wheel/installed:
	$(NEW_VENV)
	@touch $@
