# Two commands for a fresh machine:  make demo  and  make test.
#
#   PYTHON        the interpreter that makes .venv                       (python3)
#   TORCH_SOURCE  pip options for torch alone, such as --index-url URL or --find-links DIR of CPU wheels; without it
#                 torch comes from wherever pip is set up to look, which on Linux may be the large CUDA build
PYTHON ?= python3
TORCH_SOURCE ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# One thread per test process: two processes with two threads each wait for one another.
TEST := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

.PHONY: demo test setup weights weights-nano check fast docs corpus train-nano clean

demo: $(VENV)/.core weights-nano  ## set up, fetch the weights, answer about a picture and a recording
	@$(BIN)/python examples/demo.py

test: $(VENV)/.dev weights  ## set up and run everything CI runs
	$(MAKE) check
	$(TEST) -n 2
	$(MAKE) docs

check: $(VENV)/.dev  ## format, lint, types
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/mypy

fast: $(VENV)/.dev  ## the tests that need no weights
	$(TEST) -m "not weights" -n 2

docs: $(VENV)/.dev  ## build the documentation; a warning is an error
	$(BIN)/mkdocs build --strict --quiet --site-dir build/site

setup: $(VENV)/.dev

weights-nano: $(VENV)/.core
	@$(BIN)/polymodal assets fetch nano
	-@$(BIN)/polymodal assets fetch espeak-ng  # a Debian package: elsewhere nano does all but speak

weights: $(VENV)/.dev
	@$(BIN)/polymodal assets fetch nano nano-corpus piper-joe-decoder openclipart kgeography watch-motion basic-motions sound-font  # what the tests read

corpus: $(VENV)/.dev  ## fetch and build the corpora that nano is trained on
	$(BIN)/polymodal corpus build nano

train-nano: corpus  ## train polymodal-nano from nothing
	$(BIN)/polymodal train recipes/nano/v1-pt.yaml
	$(BIN)/polymodal train recipes/nano/v1-sft.yaml
	$(BIN)/polymodal train recipes/nano/v1-repeat.yaml
	$(BIN)/polymodal train recipes/nano/v2-pt-senses.yaml
	$(BIN)/polymodal train recipes/nano/v2-pt-sounds.yaml
	$(BIN)/polymodal train recipes/nano/v2-pt-video.yaml
	$(BIN)/polymodal train recipes/nano/v2-pt-maps.yaml
	$(BIN)/polymodal train recipes/nano/v2-sft.yaml
	$(BIN)/polymodal train recipes/nano/v3-pt-image.yaml
	$(BIN)/polymodal train recipes/nano/v3-pt-sound.yaml
	$(BIN)/polymodal train recipes/nano/v3-pt-clip.yaml
	$(BIN)/polymodal train recipes/nano/v3-sft.yaml

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) $(TORCH_SOURCE) $$(cat constraints.txt)
	$(PIP) -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) -c constraints.txt -e '.[dev]'
	-$(PIP) --no-deps --only-binary=:all: 'tinysoundfont>=0.3.7,<0.4'  # asks for PyAudio, to play; not for every Python
	@touch $@

clean:
	rm -rf build dist made .pytest_cache .mypy_cache .ruff_cache
