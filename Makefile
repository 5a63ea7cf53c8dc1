# Every target creates the environment in .venv first; it is reused until pyproject.toml changes.
# PYTHON=python3.12 make test   selects the interpreter;   DAKD_PROFILE=full make notebooks   the profile.

PYTHON ?= python3
PROFILE := $(or $(DAKD_PROFILE),demo)
READY := .venv/ready
RUN := .venv/bin/python -m
COURSE := $(wildcard notebooks/0*.ipynb)
EXECUTED := runs/$(PROFILE)/notebooks
PAGES := runs/$(PROFILE)/docs
EXECUTE := DAKD_PROFILE=$(PROFILE) $(RUN) jupyter nbconvert --to notebook --execute \
	--ExecutePreprocessor.timeout=-1 --output-dir $(EXECUTED)

.PHONY: help notebooks docs test test-oldest parity fuzz lab lint bench table evidence figures clean
help:
	@echo "make notebooks  run the whole course (profile: smoke, demo or full; now $(PROFILE))"
	@echo "make docs       build the documentation, with API reference and executed course, for offline reading"
	@echo "make test       run unit tests, doctests and every notebook in smoke size"
	@echo "make test-oldest  the same with the lowest versions that pyproject.toml allows (Python 3.11)"
	@echo "make parity     compare with numbers computed by the published code (minutes)"
	@echo "make fuzz       pass 200 damaged inputs to the command line (minutes)"
	@echo "make lab        open JupyterLab at the first notebook"
	@echo "make lint       run ruff, mypy and nbstripout"
	@echo "make bench      compare the speed of our code with plain implementations"
	@echo "make table      train the rows of the README's table with three seeds; update table and figures"
	@echo "make evidence   train every row of the ablation; update its tables and figures (hours)"
	@echo "make figures    draw the figures of README and docs, also as PDF and SVG for slides"
	@echo "make clean      remove runs and caches (the environment stays)"

$(READY): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "there is no $(PYTHON) here; name one that is:\
 make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "dakd needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --editable ".[notebooks,docs,dev]"
	@touch $(READY)

notebooks: $(READY)
	@mkdir -p $(EXECUTED)
	$(EXECUTE) $(COURSE)
	@echo "Executed copies: $(EXECUTED)   figures: runs/$(PROFILE)/figures"

# Rebuilds all pages, so that every warning is shown; uses the notebooks that `make notebooks` has executed.
docs: $(READY)
	rm -rf docs/api $(PAGES)
	DAKD_PROFILE=$(PROFILE) $(RUN) sphinx -W --keep-going -q -c docs . $(PAGES)
	@echo "Open $(PAGES)/index.html"

test: $(READY)
	$(RUN) pytest

parity: $(READY)
	$(RUN) tests.parity

fuzz: $(READY)
	$(RUN) tests.fuzz

# A separate environment in which every package has the lowest version that pyproject.toml allows.
OLDEST := .venv-oldest
$(OLDEST)/ready: pyproject.toml tests/lowest.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "the lowest versions need Python 3.11: make PYTHON=python3.11 test-oldest"; exit 1; }
	$(PYTHON) -m venv $(OLDEST)
	$(PYTHON) tests/lowest.py >$(OLDEST)/lowest.txt
	$(OLDEST)/bin/python -m pip install --quiet -r $(OLDEST)/lowest.txt
	$(OLDEST)/bin/python -m pip install --quiet --no-deps --editable .
	@touch $@

test-oldest: $(OLDEST)/ready
	$(OLDEST)/bin/python -m pytest

lab: $(READY)
	$(RUN) jupyter lab notebooks/00_data_inspection.ipynb

lint: $(READY)
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) nbstripout --verify $(COURSE)

bench: $(READY)
	@for b in benchmarks/bench_*.py; do echo "== $$b"; .venv/bin/python $$b || exit 1; done

table: $(READY)
	.venv/bin/dakd reproduce --profile demo --seeds 0 1 2 --out figures
	.venv/bin/dakd figures --out figures

evidence: $(READY)
	.venv/bin/dakd reproduce --profile demo --seeds 0 1 2 --runs all --out figures
	.venv/bin/dakd evidence --profile demo --seeds 0 1 2 --out figures
	.venv/bin/dakd figures --out figures

figures: $(READY)
	.venv/bin/dakd figures --out figures

clean:
	rm -rf runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find dakd tests benchmarks -name __pycache__ -type d -exec rm -rf {} +
