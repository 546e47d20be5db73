# make demo    the smoke replication, end to end
# make test    everything that must hold; `make fast` and `make slow` are its halves
# make help    the rest
SHELL  := bash
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(abspath $(VENV))/bin
STAMP  := $(abspath $(VENV))/.pptrain-$(shell printf %s '$(CURDIR)' | cksum | cut -d' ' -f1)
OUT    ?= runs/demo
TORCH  ?=
CPU    := https://download.pytorch.org/whl/cpu

# Tests leave the network alone; one thread per notebook worker keeps workers out of each other's way;
# Ray's workers, at its own niceness of 15, would wait for all the others.
TEST   := env PATH="$(BIN):$$PATH" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} RAY_worker_niceness=0
say     = @printf '\n\033[1m== %s\033[0m\n' '$(1)'

.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help install demo test fast slow browser export clean-notebooks chapters readme evidence docs lint types hooks lab clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | awk -F':.*## ' '{printf "make %-16s %s\n", $$1, $$2}'
	@echo "VENV=path uses (or creates) another environment, PYTHON=python3.12 another interpreter, OUT=dir another demo folder,"
	@echo "TORCH=$(CPU) takes torch from there: 2 GB instead of 6.4 GB"

install: $(STAMP) ## environment with the exact versions of constraints.txt

$(STAMP): settings.ini setup.py constraints.txt
	@if [ ! -x "$(BIN)/python" ]; then \
	  command -v $(PYTHON) >/dev/null || { echo "error: no $(PYTHON) on the PATH; pptrain needs Python >= 3.11 (make PYTHON=/path/to/python)" >&2; exit 1; }; \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $$($(PYTHON) --version) is too old; pptrain needs Python >= 3.11 (make PYTHON=python3.12)" >&2; exit 1; }; \
	  $(PYTHON) -m venv "$(VENV)" || { rm -rf "$(VENV)"; echo "error: $(PYTHON) -m venv failed (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }; \
	fi
	@"$(BIN)/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(VENV) holds $$("$(BIN)/python" --version); pptrain needs Python >= 3.11 (remove it, or set VENV=)" >&2; exit 1; }
	@echo "installing into $(VENV), 3 to 6 minutes the first time: about 2 GB with torch for the CPU, 6.4 GB where it brings CUDA"
	@[ -n "$(TORCH)" ] || echo "(without a GPU, take the small one: make TORCH=$(CPU))"
	@[ -z "$(TORCH)" ] || "$(BIN)/python" -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt --index-url "$(TORCH)" torch \
	  || { echo "error: no torch from $(TORCH); make without TORCH= takes it from pip's own index" >&2; exit 1; }
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@rm -f "$(abspath $(VENV))"/.pptrain-* && touch "$@"

demo: $(STAMP) ## the replications at their smallest, with a report in runs/demo (5 to 30 minutes; it says which)
	@"$(BIN)/pptrain" replicate --test --output-dir "$(OUT)"

test: fast slow ## everything: sync, tests, notebooks; then the slow ones

fast: $(STAMP) lint types ## lint and types; export, notebooks and README in sync; quick tests; notebooks without slow cells
	$(call say,tests)
	@$(TEST) pytest -q -n auto --maxprocesses=4 --dist loadfile -m "not slow and not gpu"
	$(call say,notebooks)
	@$(TEST) nbdev_test --timing

slow: $(STAMP) ## the slow cells of the notebooks; the slow tests
	$(call say,notebooks with slow cells)
	@grep -rlE '"#\| *slow' nbs --include='*.ipynb' | sort | $(TEST) xargs -P 2 -I{} \
	  sh -c 'echo "{}"; nbdev_test --path "{}" --flags slow --timing --n_workers 0'
	$(call say,slow tests)
	@$(TEST) pytest -q -n auto --maxprocesses=4 --dist loadfile -m "slow and not gpu" || { rc=$$?; [ $$rc -eq 5 ] && echo "no slow tests yet" || exit $$rc; }

browser: $(STAMP) ## the explorers in real JupyterLab and Voilà; needs Chromium (Debian: apt install chromium); pictures in runs/shots
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,browser]"
	@$(TEST) pytest -q -m browser

export: $(STAMP) ## notebooks -> pptrain/*.py
	@$(TEST) nbdev_export

clean-notebooks: $(STAMP) ## strip execution noise from the notebooks
	@$(TEST) nbdev_clean

chapters: $(STAMP) ## execute the chapters in place and store their small outputs (NB="nbs/a.ipynb ..." for some)
	@$(TEST) python docs/chapters.py $(NB)

readme: $(STAMP) ## results/ -> REPLICATIONS.md; index.ipynb -> README.md; how-tos -> docs/quickstart.md, docs/extending.md
	@$(TEST) python docs/replications.py
	@$(TEST) python docs/readme.py
	@$(TEST) python docs/pages.py

evidence: $(STAMP) ## replays and family chapters -> docs/faithful.md, docs/differences.md
	@$(TEST) python docs/evidence.py

docs: $(STAMP) ## the site in _docs/html, from stored outputs: Sphinx, warnings as errors, links checked
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,docs]"
	@$(TEST) python docs/website.py

lint: $(STAMP) ## ruff over notebooks, tests and scripts
	$(call say,lint)
	@"$(BIN)/ruff" check .

types: $(STAMP) ## mypy over the package and a program that uses the whole contract
	$(call say,types)
	@"$(BIN)/mypy"

hooks: $(STAMP) ## export, clean and lint before every commit
	@"$(BIN)/pre-commit" install

lab: $(STAMP) ## JupyterLab on the chapters
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,lab]"
	@"$(BIN)/jupyter" lab index.ipynb

clean: ## remove builds, caches and runs; the environment stays
	rm -rf build dist *.egg-info runs .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -not -path '$(VENV)/*' -prune -exec rm -rf {} +
