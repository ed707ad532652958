# p2p-fed: everything that a developer or a CI machine does. `make help` lists it.

CARGO      ?= cargo
BIN        := target/release/p2p-fed
VENV       := target/venv
PYTHON     ?= python3
# What the tests meet as foreign peers; each is a Debian package.
PEERS      := nginx-light netcat-openbsd curl wrk nghttp2-client slowhttptest openssl
APT        := env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends
# What the benchmark compares with; the rest of it is a crate.
BENCH_PEERS := haproxy stunnel4 openssh-server openssh-client openssl
SUDO       := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.DEFAULT_GOAL := help
.PHONY: help build demo check fmt clippy docs deny test unit e2e netns netns-idle netns-weather netns-first-byte netns-tools interop interop-bench interop-vectors foreign-peers nemesis h2spec torture sim ledger-table policies soak fuzz mutants peers bench bench-peers contest scale fleet micro instructions \
	instructions-record reconcile valgrind deploy-check install clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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

nemesis: build peers ## workers killed, hung and drained in turn under load, of which no client notices: make nemesis MINUTES=10
	$(E2E) NEMESIS_SECONDS=$$(( $(or $(MINUTES),10) * 60 )) \
		$(CARGO) test --locked --package p2p-fed-cli --test e2e nemesis -- --nocapture

torture: build peers ## a thousand clients of each kind that are slow on purpose, for half a minute
	ulimit -n $$(ulimit -Hn) && $(E2E) TORTURE_CONNECTIONS=1000 TORTURE_SECONDS=30 \
		$(CARGO) test --locked --package p2p-fed-cli --test e2e torture -- --nocapture

h2spec: build peers target/tools/bin/h2spec ## the conformance suite of HTTP/2 at a front; needs Go
	PATH="$(CURDIR)/target/tools/bin:$$PATH" $(E2E) \
		$(CARGO) test --locked --package p2p-fed-cli --test e2e h2spec -- --ignored --nocapture

target/tools/bin/h2spec:
	GOBIN="$(CURDIR)/target/tools/bin" go install github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible

# Of these tests each has networks of its own and waits most of the time: several at once. All need root.
NETNS := P2P_FED_BIN="$(CURDIR)/$(BIN)" $(CARGO) test --locked --package p2p-fed-netns --test netns -- --ignored --nocapture

netns: build netns-tools ## nodes on networks of their own, over lines that fail, with NATs between them; needs root
	$(NETNS) --test-threads=$(or $(THREADS),3) --skip the_table --skip ten_minutes

netns-idle: build netns-tools ## a tunnel that rests ten minutes across a NAT that forgets in 30 s; needs root
	$(NETNS) ten_minutes

netns-weather: build netns-tools ## 10 MiB over lines that lose a tenth, against plain TCP, as a table; a quarter of an hour; needs root
	$(NETNS) the_table_of_bad_weather

netns-first-byte: build netns-tools ## how long the first byte takes from a cold start, network by network, as a table: RUNS=15; needs root
	RUNS=$(RUNS) $(NETNS) the_table_of_first_bytes

netns-tools:
	@missing=; for tool in ip nft conntrack setpriv curl python3 miniupnpd; do \
		PATH="$$PATH:/usr/sbin" command -v $$tool >/dev/null || missing=1; done; \
	if [ -n "$$missing" ]; then $(SUDO) apt-get update -qq && \
		$(SUDO) $(APT) iproute2 nftables conntrack util-linux curl python3 miniupnpd-nftables; fi

# Nodes of edgevpn, from its published module: the version that LocalAI embeds, and the newest.
FOREIGN := target/interop/foreign-peer
INTEROP := P2P_FED_BIN="$(CURDIR)/$(BIN)" FOREIGN_PEERS="$(CURDIR)/target/interop" $(CARGO) test --locked --package p2p-fed-interop --test interop -- --ignored --nocapture

interop: build foreign-peers $(if $(WITHOUT),,netns-tools) ## beside real nodes of edgevpn, which LocalAI's federation is built on; needs Go, and root for mDNS
	$(INTEROP) --test-threads=$(or $(THREADS),4) --skip the_table $(if $(WITHOUT),--skip $(WITHOUT))

interop-bench: build foreign-peers peers ## requests and bytes per second through our front and through edgevpn's, as a table; needs Go
	$(INTEROP) the_table_of_speed

interop-vectors: foreign-peers ## take the vectors of edgevpn's encodings again, from both versions
	for version in 0.34 0.35; do $(FOREIGN)-$$version vectors > tests/interop/vectors/edgevpn-$$version.json || exit 1; done

# Go looks for itself whether anything has changed.
foreign-peers:
	@mkdir -p target/interop
	cd tests/interop/peer && go build -buildvcs=false -tags ownership -o "$(CURDIR)/$(FOREIGN)-0.35" .
	cd tests/interop/peer && go build -buildvcs=false -modfile=edgevpn-0.34.mod -o "$(CURDIR)/$(FOREIGN)-0.34" .

sim: ## the seeded simulation alone, longer: make sim SEEDS=10000
	SEEDS=$(or $(SEEDS),10000) $(CARGO) test --release --locked --package p2p-fed-ledger --test sim

ledger-table: ## what the ledger costs at 10 to 10 000 simulated nodes, into its page: make ledger-table NODES=100 to look
	COMMIT=$$(git describe --always --dirty) $(if $(NODES),NODES=$(NODES)) \
		$(CARGO) test --release --locked --package p2p-fed-ledger --test sim the_table -- --ignored --nocapture

policies: ## the balancing policies compared, simulated, into their page: make policies FLEET=lab to look
	COMMIT=$$(git describe --always --dirty) $(if $(FLEET),FLEET=$(FLEET)) CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
		$(CARGO) test --release --locked --test policies the_table -- --ignored --nocapture

soak: ## streams moving data both ways under back-pressure for ten minutes: make soak SOAK=600
	SOAK=$(or $(SOAK),600) $(CARGO) test --release --locked --test node soak -- --nocapture

# libFuzzer with rustc's own instrumentation: no other tool, no other toolchain.
FUZZ_TARGETS = $(basename $(notdir $(wildcard tests/fuzz/seeds/*.hex)))
FUZZ_FLAGS := -Cpasses=sancov-module -Ccodegen-units=1 $(addprefix -Cllvm-args=-sanitizer-coverage-, \
	level=4 inline-8bit-counters pc-table trace-compares)
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
FUZZ_BIN := target/fuzz/$(HOST)/fuzz/fuzz

fuzz: ## arbitrary bytes for what takes bytes from outside, led by coverage: make fuzz SECONDS=60 TARGET=session
	RUSTFLAGS="$(FUZZ_FLAGS)" $(CARGO) build --locked --profile fuzz --target $(HOST) --target-dir target/fuzz \
		--package p2p-fed-fuzz --features libfuzzer --bin fuzz
	@for target in $(or $(TARGET),$(FUZZ_TARGETS)); do \
		corpus=target/fuzz/corpus/$$target; mkdir -p $$corpus && echo "== $$target" && \
		P2P_FED_FUZZ=$$target P2P_FED_FUZZ_CORPUS=$$corpus $(FUZZ_BIN) $$corpus -artifact_prefix=target/fuzz/$$target- \
			-max_total_time=$(or $(SECONDS),60) -timeout=25 -rss_limit_mb=1024 -print_final_stats=1 $(ARGS) || exit; \
	done

# Not the simulation: it takes longer than all of these, and the sessions, laws and vectors are what notices first.
mutants: target/tools/bin/cargo-mutants ## changes to the ledger that none of its tests notices: make mutants SHARD=0/4
	PATH="$(CURDIR)/target/tools/bin:$$PATH" $(CARGO) mutants --package p2p-fed-ledger --output target/mutants -j1 --timeout 120 \
		--sharding round-robin --shard $(or $(SHARD),0/1) -- --lib --test laws --test golden --test formats

target/tools/bin/cargo-mutants:
	$(CARGO) install --quiet --locked --root target/tools cargo-mutants

BENCH := $(CARGO) run --release --locked --package p2p-fed-cli --example bench -- --bin $(BIN)

bench: build bench-peers ## what the tunnel costs, against none and against other tunnels: make bench ARGS=--quick
	$(BENCH) $(ARGS)

scale: build ## 10 000 idle tunnels, then 1000 connections a second: make scale ARGS='--minutes 1'
	$(BENCH) scale $(ARGS)

# In a network namespace of its own: there the loopback interface counts nothing but the fleet.
fleet: build ## what the ledger costs real processes, by their counters and the kernel's: make fleet ARGS='--nodes 50'
	$(CARGO) build --release --locked --package p2p-fed-cli --example bench
	unshare --user --map-root-user --net sh -c 'ip link set lo up && exec target/release/examples/bench --bin $(BIN) fleet $(ARGS)'

contest: build ## the balancing policies compared with real processes, into their page: make contest ARGS='--seconds 10' to look
	COMMIT=$$(git describe --always --dirty) $(BENCH) contest $(or $(ARGS),--page docs/balancing.md)

bench-peers: target/tools/bin/rathole ## install the tunnels that the benchmark compares with
	@missing=; for tool in haproxy stunnel sshd ssh openssl; do \
		PATH="$$PATH:/usr/sbin" command -v $$tool >/dev/null || missing=1; done; \
	if [ -n "$$missing" ]; then $(SUDO) apt-get update -qq && \
		$(SUDO) $(APT) $(BENCH_PEERS); fi
# Where root runs sshd, it wants this folder; the package's own service makes it, if that is ever started.
	@[ -d /run/sshd ] || $(SUDO) mkdir -m 755 /run/sshd

# Not --locked: what it locks, of 2023, no longer compiles. Only what the benchmark uses: plain TCP.
target/tools/bin/rathole:
	$(CARGO) install --quiet --root target/tools --version 0.5.0 --no-default-features --features server,client rathole

micro: ## how long the hot cores take: make micro ARGS=pick
	$(CARGO) bench --locked --package p2p-fed-cli --bench micro -- $(ARGS)

reconcile: ## what it costs to find out where two ledgers differ, method by method
	$(CARGO) run --release --locked --package p2p-fed-ledger --example reconcile

COUNT := $(CARGO) run --release --locked --package p2p-fed-cli --example instructions --

instructions: valgrind ## how many instructions the hot cores take, against the committed baseline
	$(COUNT) $(ARGS)

instructions-record: valgrind ## make what they take now the baseline
	$(COUNT) --record

valgrind:
	@command -v valgrind >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) $(APT) valgrind; }

deploy-check: build target/tools/bin/kustomize target/deploy/venv/ready ## whether the files for systemd, containers and clusters fit p2p-fed; needs Go
	target/deploy/venv/bin/python docs/deploy/check.py --bin $(BIN) --kustomize target/tools/bin/kustomize --work target/deploy/work

target/deploy/venv/ready: docs/deploy/requirements.txt
	$(PYTHON) -m venv target/deploy/venv
	target/deploy/venv/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

target/tools/bin/kustomize:
	GOBIN="$(CURDIR)/target/tools/bin" go install sigs.k8s.io/kustomize/kustomize/v5@v5.7.1

install: ## install the binary for this user
	$(CARGO) install --locked --path cmd

peers: $(VENV)/ready ## install the servers and clients that the tests talk to
	@missing=; for tool in nginx nc curl wrk h2load nghttp slowhttptest openssl; do \
		PATH="$$PATH:/usr/sbin" command -v $$tool >/dev/null || missing=1; done; \
	if [ -n "$$missing" ]; then $(SUDO) apt-get update -qq && \
		$(SUDO) $(APT) $(PEERS); fi

$(VENV)/ready: tests/peers/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

clean:
	$(CARGO) clean
