# make demo    a fresh machine -> a sweep on real images -> its best configuration, checked
# make test    a fresh machine -> all tests
PYTHON ?= python3
DEMO ?= out/demo
BIN := .venv/bin
# Three processes on two cores: many tests wait for a cluster. The order of tests/conftest.py is kept.
SHARED := -n 3 --dist loadgroup --no-loadscope-reorder

export RAY_USAGE_STATS_ENABLED = 0

.PHONY: help setup demo test test-fast fuzz chaos docs lint types clean

help:
	@echo "make setup      the environment in .venv (PYTHON=... chooses the interpreter, 3.11 or newer)"
	@echo "make demo       a sweep on digits, its leaderboard, promotion and verification (minutes, CPU)"
	@echo "make test       all tests (about a quarter of an hour on two cores)"
	@echo "make test-fast  the tests without a Ray cluster or long computation (a few minutes on two cores)"
	@echo "make fuzz       the tests of files, parsers and formulas on new random examples"
	@echo "make chaos      sweeps killed and launched twice, nodes lost, ten thousand damages to results (hours)"
	@echo "make docs       the generated pages and JSON Schemas, and the site in out/site"
	@echo "make lint       ruff: rules and format"
	@echo "make types      mypy"
	@echo "make clean      remove the environment and what tools left behind; results stay"

setup: .venv/.ready

.venv/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "error: Python 3.11 or newer is needed; '$(PYTHON)' is not: make setup PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "environment: .venv (a few minutes the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: setup
	@echo; echo "== 1/4 sweep: alpha, lambda and temperature on digits"
	@$(BIN)/python -m sweeper.launch search_spaces/digits.yaml
	@echo; echo "== 2/4 leaderboard"
	@$(BIN)/python -m sweeper.query "SELECT trial, method_alpha AS alpha, method_lambda AS lambda, \
		method_temperature AS temperature, acc_task_mean_pct AS acc_pct, acc_task_mean_std_pct AS std_pct, n \
		FROM seeds WHERE sweep = 'digits' AND status = 'finished' ORDER BY acc_pct DESC LIMIT 5"
	@echo; echo "== 3/4 promote: the best few again, on fresh seeds and the test split"
	@rm -f $(DEMO)/*.yaml && mkdir -p $(DEMO)
	@$(BIN)/python -m sweeper.promote digits --seeds 8 --runs $(DEMO)
	@echo; echo "== 4/4 verify: the promoted run file gives its recorded results again"
	@set -e; for file in $(DEMO)/*.yaml; do $(BIN)/python -m trainer.run "$$file" --verify; done
	@echo; echo "the sweep as a page, to open in a browser:"
	@$(BIN)/python -m sweeper.report digits --format html --out $(DEMO)

test: setup
	@$(BIN)/python -m pytest $(SHARED)

test-fast: setup
	@$(BIN)/python -m pytest $(SHARED) -m "not slow"

fuzz: setup
	@$(BIN)/python -m pytest $(SHARED) --hypothesis-profile=others -m hypothesis

chaos: setup
	@$(BIN)/python -m pytest --long -m slow
	@$(BIN)/python -m benchmarks.kills --kills 100
	@$(BIN)/python -m benchmarks.lost_nodes --kills 100
	@$(BIN)/python -m benchmarks.races --races 50
	@$(BIN)/python -m benchmarks.damage --damages 10000

docs: setup
	@$(BIN)/python docs/make.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup
	@$(BIN)/mypy

clean:
	rm -rf .venv *.egg-info build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
