# Every check of the project. Each target makes its own virtual environment (.venv), builds the release wheel when the
# sources changed, installs it and works with the installed wheel.

ifndef PYTHON
PYTHON := $(shell sh tools/find_python.sh)
endif
VENV_PYTHON := $(CURDIR)/.venv/bin/python
ENVIRONMENT = "$(PYTHON)" tools/environment.py
CHECK_TOOLCHAIN = @sh tools/check_toolchain.sh "$(PYTHON)"
# The binding crate holds no logic; its tests are the Python tests. (Its test binary would need a shared libpython.)
CARGO_TEST = cargo test --locked --profile checked --workspace --exclude pagebuddy-py
CARGO_DOC = RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" \
	cargo doc --locked --no-deps --document-private-items -p pagebuddy-core -p pagebuddy-replay
# The lock-free zone under a deterministic scheduler and under a model checker; each replaces the atomics.
CARGO_PROOF = cargo test --locked --profile checked -p pagebuddy-core
# How long `make soak` takes.
SOAK ?= 600

export PYO3_PYTHON := $(VENV_PYTHON)
unexport PYTHONPATH PYTHONHOME
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint wheel docs bench soak tsan long clean

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

DEMO = tests/data/recordings

demo: ## Build, install, boot a recorded machine and replay what the kernel did on it.
	$(CHECK_TOOLCHAIN) rust
	$(ENVIRONMENT) --wheel cli
	.venv/bin/pagebuddy info
	$(VENV_PYTHON) examples/tour.py
	@printf '\n== A recorded memory map becomes zones and free lists ==\n'
	.venv/bin/pagebuddy boot --recording $(DEMO)/boot-numa1G_3G.jsonl.gz
	@printf '\n== What the kernel did on recorded machines, replayed pfn for pfn ==\n'
	.venv/bin/pagebuddy replay $(DEMO)/early-nonpcp-64M-long-s7.jsonl.gz $(DEMO)/early-pcp1-64M-s1.jsonl.gz \
		$(DEMO)/late-frag-64M-s1.jsonl.gz $(DEMO)/memblock/*.jsonl.gz

test: ## Rust and Python tests, against the installed wheel; a few minutes.
	$(CHECK_TOOLCHAIN) rust
	$(ENVIRONMENT) --wheel cli test
	$(CARGO_TEST)
	$(CARGO_PROOF) --features schedules --test schedules --test linear
	$(CARGO_PROOF) --features loom --test loom -- --nocapture
	$(VENV_PYTHON) -m pytest

lint: ## Formatting, clippy, ruff, mypy, stubs, layers and orderings.
	$(CHECK_TOOLCHAIN) rust rustfmt clippy
	$(ENVIRONMENT) cli test bench lint
	cargo fmt --all --check
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m ruff format --check
	$(VENV_PYTHON) -m mypy
	$(VENV_PYTHON) -m tools.check_layers
	$(VENV_PYTHON) -m tools.check_orderings
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked -p pagebuddy-core --features schedules --all-targets -- -D warnings
	cargo clippy --locked -p pagebuddy-core --features loom --lib --test loom -- -D warnings
	$(CARGO_DOC)
	$(ENVIRONMENT) --wheel cli test bench lint
	$(VENV_PYTHON) -m mypy.stubtest pagebuddy

wheel: ## Build the release wheel into dist/.
	$(CHECK_TOOLCHAIN) rust
	$(ENVIRONMENT) --wheel

docs: ## Python and Rust documentation, as HTML in site/.
	$(CHECK_TOOLCHAIN) rust
	$(ENVIRONMENT) --wheel cli docs
	rm -rf site
	$(CARGO_DOC)
	$(VENV_PYTHON) -W error -m pdoc --docformat google --output-directory site/python pagebuddy
	cp -R target/doc site/rust
	cp docs/index.html site/index.html
	@echo "open site/index.html"

bench: ## Benchmarks against a C variant with locks and from Python; writes docs/benchmarks.md. BENCH=--quick: in two minutes.
	$(CHECK_TOOLCHAIN) rust
	$(ENVIRONMENT) --wheel cli test bench
	cargo run --locked --release -p pagebuddy-bench -- --write docs $(BENCH)
	mkdir -p target
	$(VENV_PYTHON) -m pytest -q benches --benchmark-disable-gc --benchmark-json target/python.json
	$(VENV_PYTHON) benches/python_table.py target/python.json docs/benchmarks.md

soak: ## The concurrent tests for SOAK=600 seconds (or 15m, 8h); prints what was done, also if interrupted.
	$(CHECK_TOOLCHAIN) rust
	$(ENVIRONMENT)
	$(VENV_PYTHON) -m tools.soak $(SOAK)

tsan: ## The stress tests under ThreadSanitizer; says so if the toolchain cannot.
	$(CHECK_TOOLCHAIN) rust
	sh tools/tsan.sh

long: ## The long forms of the sequential tests; hours with many recordings.
	$(CHECK_TOOLCHAIN) rust
	$(ENVIRONMENT) --wheel cli test
	PAGEBUDDY_SOAK=1 $(CARGO_TEST) -- --include-ignored
	PAGEBUDDY_ALL_RECORDINGS=1 $(VENV_PYTHON) -m pytest --soak

clean: ## Remove everything that was built.
	rm -rf .venv dist site target .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find python tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
