# p2p-fed: everything that a developer or a CI machine does. `make help` lists it.

CARGO      ?= cargo
BIN        := target/release/p2p-fed
VENV       := target/venv
PYTHON     ?= python3
# What the tests meet as foreign peers; each is a Debian package.
PEERS      := nginx-light netcat-openbsd curl
SUDO       := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.DEFAULT_GOAL := help
.PHONY: help build demo check fmt clippy docs deny test unit e2e sim soak peers bench install clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the release binary
	$(CARGO) build --release --locked --package p2p-fed-cli

demo: build ## show the main job at work: a front, three workers, a failover (Ctrl-C ends it)
	@$(BIN) demo

check: fmt clippy docs ## formatting, lints, documentation; warnings are errors

fmt:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

docs: ## build the API documentation
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked --document-private-items

deny: target/tools/bin/cargo-deny ## licences, duplicates and sources of the dependencies
	PATH="$(CURDIR)/target/tools/bin:$$PATH" $(CARGO) deny check bans licenses sources

target/tools/bin/cargo-deny:
	$(CARGO) install --quiet --locked --root target/tools cargo-deny

# The end-to-end tests run the release binary, find the peers here, and move a body of 1 GiB.
E2E := P2P_FED_BIN="$(CURDIR)/$(BIN)" PEERS_PYTHON="$(CURDIR)/$(VENV)/bin/python" E2E_BODY_MIB=1024

test: build peers ## all tests, installing what they need; under ten minutes on two cores
	$(E2E) $(CARGO) test --workspace --locked

unit: ## the tests that need no peers: units, laws, simulation, whole nodes in process, the command
	$(CARGO) test --workspace --locked --lib --bins
	$(CARGO) test --locked --test node
	$(CARGO) test --locked --package p2p-fed-ledger
	$(CARGO) test --locked --package p2p-fed-cli --test cli

e2e: build peers ## the tests of the release binary with real servers and clients alone
	$(E2E) $(CARGO) test --locked --package p2p-fed-cli --test e2e

sim: ## the seeded simulation alone, longer: make sim SEEDS=10000
	SEEDS=$(or $(SEEDS),10000) $(CARGO) test --release --locked --package p2p-fed-ledger --test sim

soak: ## streams moving data both ways under back-pressure for ten minutes: make soak SOAK=600
	SOAK=$(or $(SOAK),600) $(CARGO) test --release --locked --test node soak -- --nocapture

bench: build ## throughput, requests and latency, against none and a plain relay: make bench ARGS=--quick
	$(CARGO) run --release --locked --package p2p-fed-cli --example bench -- --bin $(BIN) $(ARGS)

install: ## install the binary for this user
	$(CARGO) install --locked --path cmd

peers: $(VENV)/ready ## install the servers and clients that the tests talk to
	@missing=; for tool in nginx nc curl; do \
		PATH="$$PATH:/usr/sbin" command -v $$tool >/dev/null || missing=1; done; \
	if [ -n "$$missing" ]; then $(SUDO) apt-get update -qq && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(PEERS); fi

$(VENV)/ready: tests/peers/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

clean:
	$(CARGO) clean
