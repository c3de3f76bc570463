# Targets install the package and its dependencies into .venv if necessary.
# PYTHON=… selects the Python interpreter of .venv (default: python3; 3.11 or newer).

VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/installed
DEMO := output/demo
PIP := $(PY) -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: install demo test coverage fuzz lint site format bench clean FORCE

MINUTES := 5

install: $(INSTALLED)

# Creates .venv again if it is incomplete or PYTHON differs from that of the last run.
$(VENV)/python.txt: FORCE
	@if [ ! -e $@ ] || [ ! -x $(PY) ] || { [ -n "$(PYTHON)" ] && [ "$(PYTHON)" != "$$(cat $@)" ]; }; then \
	  "$(or $(PYTHON),python3)" -c 'import sys; sys.version_info >= (3, 11) or sys.exit("error: Python 3.11 or newer is needed, this is %d.%d; choose one with `make PYTHON=…`" % sys.version_info[:2])' && \
	  rm -rf $(VENV) && \
	  "$(or $(PYTHON),python3)" -m venv $(VENV) && \
	  echo "$(or $(PYTHON),python3)" > $@; \
	fi

$(INSTALLED): $(VENV)/python.txt setup.py constraints.txt tools/install_detectron2.py \
    $(wildcard tools/detectron2_release/*.py)
	@echo "Installing into $(VENV) (once, some minutes: torch is large) …"
	@$(PIP) setuptools wheel torch torchvision
	@$(PIP) --no-build-isolation --editable ".[dev,imagenet]"
	@$(PY) tools/install_detectron2.py
	@touch $@

demo: $(INSTALLED)
	@$(PY) tools/prepare_dsb2018.py --sample --output $(DEMO)/data
	@$(PY) -W ignore tools/train_net.py --config-file configs/quick/mask_rcnn.yaml \
	  --data $(DEMO)/data OUTPUT_DIR $(DEMO)/mask_rcnn
	@$(PY) -W ignore tools/benchmark.py --config-file $(DEMO)/mask_rcnn/config.yaml \
	  --weights $(DEMO)/mask_rcnn/model_final.pth --datasets dsb2018_sample_val \
	  --data $(DEMO)/data --output $(DEMO)/report
	@echo "Open $(DEMO)/report/report.html in a browser: each image with the nuclei that were found."

test: $(INSTALLED)
	@$(PY) -m pytest

# Line coverage of the tests; fails below 90 %.
coverage: $(INSTALLED)
	@$(PY) -m pytest --cov=dsb2018 --cov-report=term:skip-covered --cov-fail-under=90

# Reads mutated files with every reader: `make fuzz MINUTES=30`.
fuzz: $(INSTALLED)
	@$(PY) -W ignore -m tests.fuzz --minutes $(MINUTES)

lint: $(INSTALLED)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(MAKE) --no-print-directory site

# The documents and the API reference as web pages: site/index.html. Fails at broken links. All pages
# are built each time (-E), because Sphinx would not repeat the warnings of unchanged ones.
site: $(INSTALLED)
	@$(PY) -W ignore -m sphinx -E -W --keep-going -q -c docs . site

format: $(INSTALLED)
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

bench: $(INSTALLED)
	@$(PY) -W ignore -m benchmarks.run

clean:
	rm -rf $(VENV) $(DEMO) site
