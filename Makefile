# make demo · make test · make bench · make bench-peers · make swarm: each sets up all that it needs. Python 3.11 or later and make are enough.

.PHONY: demo test bench bench-peers swarm lint types clean
.DEFAULT_GOAL := test

# The first interpreter that really runs (a shim may exist and fail), is new enough and can make a venv.
# Override it with `make PYTHON=…`.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	if $$python -c 'import sys, ensurepip, sqlite3, venv; sys.exit(sys.version_info < (3, 11))' \
	>/dev/null 2>&1; then echo $$python; break; fi; done)

demo: .venv/.stamp
	.venv/bin/python -m replica.demo $(if $(DB),--db "$(DB)")

test: lint types
	.venv/bin/python -m pytest -q

bench: .venv/.stamp
	.venv/bin/python -m tests.bench

# Public engines and ours on one workload, with the ratios. PEERS: the folder of their drivers; WORK: where packages, data
# and results go. The peers need their packages from PyPI and, for PouchDB, node and npm.
bench-peers: .venv/.stamp
	.venv/bin/python -m tests.bench.peers "$(or $(PEERS),../shared/peers)" "$(or $(WORK),.bench/peers)" \
	$(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(RECORDS),--records $(RECORDS))

# Ten thousand worlds; goes on where it was interrupted.
swarm: .venv/.stamp
	.venv/bin/python -m sim swarm --seeds $(or $(SEEDS),10000) --jobs $(or $(JOBS),$(shell nproc 2>/dev/null || echo 2)) \
	--state .swarm.jsonl

lint: .venv/.stamp
	.venv/bin/python -m ruff check -q .

types: .venv/.stamp
	.venv/bin/python -m mypy

.venv/.stamp: pyproject.toml constraints.txt
	@python="$(PYTHON)"; test -n "$$python" || \
	{ echo "make: no usable Python >= 3.11 with venv and sqlite3; try make PYTHON=/path/to/python" >&2; exit 1; }; \
	.venv/bin/python -m pip --version >/dev/null 2>&1 || "$$python" -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .bench .swarm.jsonl build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
