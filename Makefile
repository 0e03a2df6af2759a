# `make demo` and `make test` set everything up on a machine that has Python 3.11 or newer, git and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test test-label-studio lint install clean

demo: install
	$(BIN)/lossrank demo

# One thread a process: small tensors on two threads in two processes wait for each other, seven times as long.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# Against a real Label Studio, in an environment of its own: it pins numpy. The browser is the system's chromium.
LABEL_STUDIO := $(VENV)/label-studio

test-label-studio: install $(LABEL_STUDIO)/.ready
	OMP_NUM_THREADS=1 LOSSRANK_LABEL_STUDIO=$(LABEL_STUDIO) $(BIN)/python -m pytest tests/label_studio

$(LABEL_STUDIO)/.ready:
	$(PYTHON) -m venv $(LABEL_STUDIO)
	$(LABEL_STUDIO)/bin/python -m pip install --quiet --disable-pip-version-check label-studio==1.23.2 playwright==1.65.2
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(READY)

# torch goes in alone and first: asked for together with the rest, a resolver may prefer a CUDA build.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lossrank needs Python 3.11 or newer; PYTHON=python3.12 make ... names another one")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) runs
