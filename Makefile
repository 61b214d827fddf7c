# make demo and make test do all the setup. Needs Python 3.11 or newer and make.
PYTHON ?= python3
OUTPUT := build/tweets.scored.parquet
# Read by pip, including for build dependencies (older pip: PIP_CONSTRAINT, newer pip: PIP_BUILD_CONSTRAINT).
PIP_SETTINGS := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1
# Tests mostly wait for brokers and processes, so more workers than cores pay off, as far as memory allows.
WORKERS ?= 4
# Each worker gets whole files, in the order of tests/conftest.py. Bytecode is always cached, whatever the
# environment says: the tests start hundreds of processes.
PYTEST := env -u PYTHONDONTWRITEBYTECODE .venv-dev/bin/python -m pytest -q --dist loadfile --no-loadscope-reorder
AGAIN := echo 'Rerunning the failed tests alone:' && $(PYTEST) -n 0 -v --exitfirst --last-failed --last-failed-no-failures none
CODE := sentstream train tests benchmarks examples deploy recipes tools

define CHECK_PYTHON
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "sentstream needs Python 3.11 or newer; choose one: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
endef

define NEW_VENV
$(CHECK_PYTHON)
@$(PYTHON) -c 'import ensurepip, venv' || \
	{ echo "this Python cannot create virtual environments; on Debian: apt install python3-venv" >&2; exit 1; }
$(PYTHON) -m venv --clear $(@D)
endef

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help man demo demo-kafka broker servers check test test-long test-faults test-cuda stack-test lint docs format models bench \
	bench-stream bench-cuda wheel clean

help:
	@echo "make demo          install the runtime into .venv, score examples/tweets.parquet, print the result"
	@echo "make demo-kafka    the same with a Kafka broker, a stream of tweets, and dead letters; needs Java and Maven"
	@echo "make check         check style and types, run the fast tests; run this after each change"
	@echo "make test          install everything into .venv-dev, check style and types, run all tests, build the docs"
	@echo "make test-long     run all tests with ten times as many random cases and kills; takes an hour or more"
	@echo "make test-faults   kill consume, the broker and more for a long time, and count every tweet"
	@echo "make test-cuda     run the tests that need an NVIDIA GPU, in .venv-cuda; without a GPU they fail"
	@echo "make stack-test    start docker-compose.yml, break it, count every message, stop it; needs Docker"
	@echo "make lint          check style and types only"
	@echo "make format        fix the style with ruff"
	@echo "make models        retrain the models that ship, step by step, in build/models; needs the data"
	@echo "make bench         measure speed and memory, compared with Keras, VADER, fastText and more"
	@echo "make bench-stream  measure the cost of scoring in a Kafka stream"
	@echo "make bench-cuda    measure a GPU and compare it with the CPU, in .venv-cuda"
	@echo "make man           write the manual pages into build/man"
	@echo "make wheel         build the wheel into dist/"
	@echo "make clean         remove everything that the other targets create"

demo: .venv/installed
	@mkdir -p build
	.venv/bin/sentstream score examples/tweets.parquet --output $(OUTPUT) --overwrite
	@.venv/bin/python examples/demo.py $(OUTPUT)
	@echo 'Next, score your own file: .venv/bin/sentstream score FILE.parquet'
	@echo 'To type just sentstream in this shell: . .venv/bin/activate'

demo-kafka: broker .venv/installed
	@.venv/bin/python examples/demo_kafka.py

# Runs first, to report what is missing before anything is installed.
broker:
	$(CHECK_PYTHON)
	@$(PYTHON) examples/demo_kafka.py --fetch

check: lint
	$(PYTEST) -n 3 -m 'not slow'

# Builds and fetches before the tests, so that no test waits for a compiler, and all brokers share one class archive.
# If Chromium is missing, it is installed from Debian's packages (as root).
servers: .venv-dev/installed
	@.venv-dev/bin/python -m tools.local_stores --fetch
	@.venv-dev/bin/python -m tools.kubernetes --fetch
	@.venv-dev/bin/python -m tools.promtool --fetch
	@.venv-dev/bin/python tools/local_kafka.py --fetch
	@.venv-dev/bin/python tools/local_browser.py --fetch

# Tests that fail in the parallel run are rerun once, alone, until the first one fails again. A test that passes
# only then is named in the output, and counts as a defect of the code or of the test.
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

# Builds the site in site/; a broken link is an error.
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

# Needs only pip, which builds in an isolated environment with just the packages of [build-system].
wheel: .venv-wheel/installed
	$(PIP_SETTINGS) .venv-wheel/bin/python -m pip wheel --no-deps --wheel-dir dist .

clean:
	rm -rf .venv .venv-dev .venv-cuda .venv-wheel build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find sentstream train tests benchmarks examples tools -name __pycache__ -prune -exec rm -rf {} +

.venv/installed: EXTRAS := cpu
.venv-dev/installed: EXTRAS := cpu,cloud,fsspec,delta,iceberg,fast-kafka,ray,spark,train,nltk,dev
# A separate environment: onnxruntime and onnxruntime-gpu install the same module.
.venv-cuda/installed: EXTRAS := cuda,test

# The stamp is written last, so an interrupted installation starts again.
.venv/installed .venv-dev/installed .venv-cuda/installed: pyproject.toml constraints.txt
	$(NEW_VENV)
	$(PIP_SETTINGS) $(@D)/bin/python -m pip install --quiet -e '.[$(EXTRAS)]'
	@touch $@

.venv-wheel/installed:
	$(NEW_VENV)
	@touch $@
