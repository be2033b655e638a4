# One target directory for all checkouts and CI, outside of them: a cold build compiles RocksDB,
# which takes most of an hour of processor time. For the same reason there is one profile, release.
CACHE := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)
export CARGO_TARGET_DIR ?= $(CACHE)/marea/target

# Tests wait most of the time, for time-outs and other processes: more of them at once than there are processors
# save minutes.
test: export RUST_TEST_THREADS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n > 8 ? n : 8)))

.PHONY: help ocean service test verify fmt lint docs bench compare soak mutants prerequisites

help: ## this list
	@grep -E '^[a-z]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 12

ocean: prerequisites ## run the reference pipeline: raw readings to averages and alerts per ocean
	cargo run --release --example ocean_aggregates

service: prerequisites ## run the ocean service on loopback; ARGS="--listen 127.0.0.1:9000" for settings
	cargo run --release -p ocean -- $(ARGS)

test: prerequisites ## all tests, including those in the documentation
	cargo test --release --workspace --features marea/admin --no-fail-fast

verify: fmt lint docs test ## everything a change must pass before it is merged

fmt: prerequisites ## check the format
	cargo fmt --all --check

lint: prerequisites ## clippy, with warnings as errors
	cargo clippy --release --workspace --features marea/admin --all-targets -- -D warnings

docs: prerequisites ## build the documentation, with warnings as errors
	RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --features marea/admin --no-deps

bench: prerequisites ## all benches
	cargo bench --workspace

compare: prerequisites ## marea and Kafka Streams, alternating on a real broker; ARGS="sensor --times 1" for less
	benches/peers/compare $(ARGS)

soak: prerequisites ## 20 minutes of random faults on three brokers; ARGS="--seed 7 --minutes 5 --without KillAllBrokers"
	cargo build --release --example ocean_aggregates
	cargo test --release --test kafka -- --soak $(ARGS)

mutants: prerequisites ## break each mechanism and check that its test fails; takes hours; ARGS="flush" for some
	scripts/mutants $(ARGS)

prerequisites:
	@scripts/prerequisites
