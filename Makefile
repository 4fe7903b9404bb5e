# The only way in, for people and for CI alike. `make help` lists the targets.
SHELL := /bin/bash
PATH := $(CURDIR)/.venv/bin:$(PATH)
export PATH
export DS_ACCELERATOR ?= cpu

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow check format golden bench
.PHONY: chart images cluster cluster-down test-cluster

help:       ## this list
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */\1\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

setup:      ## the locked environment in .venv; says in one sentence what this machine lacks
	@infra/setup.sh

demo: setup ## the whole workflow on this machine, from generated data to a registered model that answers a question
	@sphinx-x demo

test: setup ## the test suite (two cores: under 15 minutes)
	@OMP_NUM_THREADS=1 python -m pytest

test-slow: setup ## the full matrices: all ZeRO stages and world sizes, many kills
	@OMP_NUM_THREADS=1 python -m pytest -m slow --timeout 3600

check: setup ## lint, format, types, and generated files that must be up to date
	@ruff check .
	@ruff format --check .
	@basedpyright --level error
	@python -m pipelines.compile --check

format: setup ## rewrite the code in the project's format
	@ruff check --fix .
	@ruff format .

golden: setup ## rewrite the compiled pipelines and the JSON schemas
	@python -m pipelines.compile

bench: setup ## measurements, as ratios in one run; see docs/performance.md
	@for script in bench/*.py; do echo "== $$script"; python "$$script" || exit 1; done

chart:      ## lint the chart, check its schema, its README and every object it makes; builds helm once, which needs Go
	@infra/helm/build.sh >/dev/null
	@python helm/document.py --check
	@OMP_NUM_THREADS=1 python -m pytest tests/helm

images:     ## the container images, by docker, podman or buildah; what they hold: infra/images/README.md
	@infra/images/build.sh all

cluster:    ## a real one-node Kubernetes on this machine with JobSet, Trainer, S3, MLflow and our images; needs root and Go
	@infra/devcluster/cluster up --images

cluster-down: ## stop it and remove everything it made
	@infra/devcluster/cluster down

test-cluster: setup ## the tests that need a Kubernetes: on KUBECONFIG's if that is set, else on the development cluster
	@infra/devcluster/test.sh $(TESTS)
