# Streetwatt. `make demo` trades a real street; `make test` checks everything.
.PHONY: demo test bench bench-peers deb fmt web screenshots clean
export PATH := $(HOME)/.cargo/bin:$(PATH)

# What the tests bring beside Rust: independent programs that judge ours.
VENV := target/venv
JUDGES := meter-agent/tests/judges
ANVIL = $(shell find contracts/node_modules/@foundry-rs -path '*/bin/anvil' 2>/dev/null | head -n 1)
TEST_ENV = STREETWATT_NODE=1 STREETWATT_ANVIL=$(abspath $(ANVIL)) STREETWATT_PYTHON=$(abspath $(VENV))/bin/python \
	STREETWATT_MOSQUITTO=$$(PATH=$$PATH:/usr/sbin command -v mosquitto)

demo: web/dist/index.html
	cargo run -p sim-grid -- demo

test: web/dist/index.html contracts/node_modules/.done $(JUDGES)/node_modules/.done $(VENV)/.done
	bash .ci/need chromium=chromium mosquitto=mosquitto mbpoll=mbpoll openssl=openssl
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	$(TEST_ENV) cargo test --workspace
	cd web && npm run --silent check && npm run --silent test
	cargo build --quiet -p sim-grid -p meter-agent
	node web/tests/against-demo.mjs target/debug/sim-grid
	node web/tests/against-setup.mjs target/debug

# Started as built: `cargo run` would wait once more for whoever else builds.
BUILD_RELEASE = cargo build --release -p meter-agent -p controller -p sim-grid
RELEASE = $(or $(CARGO_TARGET_DIR),target)/release

bench: web/dist/index.html
	$(BUILD_RELEASE)
	$(RELEASE)/sim-grid bench
	cargo bench --quiet -p market --bench clearing

# Other people's market software, each in an environment of its own.
PEERS := pymarket assume gsy ec highs

bench-peers: web/dist/index.html $(PEERS:%=target/peers/%/.tried)
	$(BUILD_RELEASE)
	$(RELEASE)/sim-grid bench-peers

target/peers/%/.tried: sim-grid/peers/%.txt
	bash .ci/need python3=python3
	bash .ci/peer $*

# The agent's package: `make deb`, or `make deb ARCH=arm64` (a Raspberry Pi, for instance).
ARCH := amd64

deb:
	bash .ci/deb $(ARCH)

fmt:
	cargo fmt --all

web: web/dist/index.html

web/dist/index.html: web/node_modules/.done $(shell find web/src web/public web/index.html -type f 2>/dev/null)
	cd web && npm run --silent build

web/node_modules/.done: web/package-lock.json
	bash .ci/need node=nodejs npm=npm
	cd web && npm install --no-save --loglevel=error --no-audit --no-fund
	touch $@

contracts/node_modules/.done: contracts/package-lock.json
	bash .ci/need node=nodejs npm=npm
	cd contracts && npm install --no-save --loglevel=error --no-audit --no-fund --ignore-scripts
	touch $@

$(JUDGES)/node_modules/.done: $(JUDGES)/package-lock.json
	bash .ci/need node=nodejs npm=npm
	cd $(JUDGES) && npm install --no-save --loglevel=error --no-audit --no-fund --ignore-scripts
	touch $@

$(VENV)/.done: sim-grid/tests/python/requirements.txt
	bash .ci/need python3=python3
	python3 -m venv $(VENV) || (bash .ci/need no-such-command=python3-venv && python3 -m venv $(VENV))
	$(VENV)/bin/pip install --quiet -r $<
	touch $@

screenshots: web/dist/index.html
	cargo build --quiet -p sim-grid && node web/tests/against-demo.mjs target/debug/sim-grid --screenshots docs

clean:
	rm -rf target web/dist web/node_modules contracts/node_modules $(JUDGES)/node_modules
