# `make demo` and `make test` are all that a fresh clone needs: .venv is made on first use.

PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# One thread a process: pytest processes that each start a thread per core slow each other down. Three for two cores, since
# some tests wait for others. Each begins with a third of the tests, and takes from the others' when it is done.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist worksteal -q

.PHONY: demo test slow whole lint house format notebooks wheel tables site serve site-check evidence clean

# Train, test, save, reload and judge ResNet-20 on handwritten digits.
demo: .venv/.demo
	$(BIN)/zoo run digits_resnet20 --save runs/demo
	cp runs/demo/report.png .

# Everything but the slow tests. COVERAGE=95 measures which lines and branches they run, and wants so many percent.
test: .venv/.test
	$(PYTEST) -m "not slow" $(if $(COVERAGE),--cov --cov-report=term --cov-fail-under=$(COVERAGE))

# Subprocesses, killed runs, real trainings.
slow: .venv/.test
	$(PYTEST) -m "slow and not whole" --durations 10

# What `make slow` takes a sample of, such as every two tricks in one run: hours. For a release, and for changes to frames.
whole: .venv/.test
	$(PYTEST) -m whole

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff check --isolated --select E501 --line-length 120 recipes/frame recipes/command recipes/papers
	$(BIN)/ruff format --check .

# The house rules in numbers: sizes, imports, types, docstrings. Fails where one is broken.
house: .venv/.test
	$(BIN)/python .ci/house

format: .venv/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Execute each notebook in a clean kernel, from its .py, and keep its outputs in the .ipynb.
notebooks: .venv/.notebooks
	$(BIN)/python notebooks/make.py

wheel: .venv/.test
	rm -rf build dist
	$(BIN)/python -m build --wheel --outdir dist

# Rewrite the generated tables from results/ and from the code.
tables: .venv/.test
	$(BIN)/python -m recipes.command.tables
	$(BIN)/python docs/builder/networks.py

# The documentation: build/site/index.html. Warnings are errors, and so are links within the site that lead nowhere.
site: .venv/.site
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -q -W --keep-going -j 2 -b html -d build/doctrees docs build/site
	$(BIN)/python docs/links.py build/site

# Show it on http://127.0.0.1:8000.
serve: site
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site

# Look at its kinds of pages in Debian's chromium, narrow and wide, light and dark: build/looks has the pictures.
# From nothing: Sphinx forgets index entries, such as titles of papers, of pages that it does not build again.
site-check: .venv/.site .venv/.site-check
	rm -rf build/site build/doctrees
	$(MAKE) site
	$(BIN)/python docs/look.py build/site build/looks

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Lightning Zoo needs Python 3.11 or later; none found as python3.12, python3.11 or python3"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -qq --upgrade pip # that of Python 3.11 takes half as long again

.venv/.demo: .venv/bin/python pyproject.toml
	$(BIN)/pip install -qq -e .
	@touch $@

.venv/.notebooks .venv/.site .venv/.site-check: .venv/.%: .venv/bin/python pyproject.toml
	$(BIN)/pip install -qq -e ".[$*]"
	@touch $@

.venv/.test: .venv/bin/python pyproject.toml
	$(BIN)/pip install -qq -e ".[test]"
	@touch .venv/.demo .venv/.notebooks .venv/.site $@ # [test] has what these have

# Run what is missing of the programme behind the cards (days); FOLDER: images as files in place of CIFAR-10.
evidence: .venv/.demo
	$(BIN)/python -m recipes.command.evidence $(if $(FOLDER),--folder $(FOLDER))

clean:
	rm -rf .venv build dist *.egg-info runs report.png
