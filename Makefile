# The two commands of the README are `make demo` and `make test`.
SHELL := /bin/bash
.DELETE_ON_ERROR:
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/cofferdam
TARGET := $(or $(CARGO_TARGET_DIR),target)
export PATH := $(PATH):$(CACHE)/bin

.PHONY: demo test setup lint unit crash guests fuzz bench test-peers release clean

demo: ## the whole story on this machine: no key, no network
	cargo build --locked --profile demo --package cofferdam
	@# It asks for an approval; where nobody can answer, `make demo` answers for them.
	@case "$(DEMO)" in *-y*) ;; *) [ -t 0 ] || yes=--yes;; esac; $(TARGET)/demo/cofferdam demo $$yes $(DEMO)

test: setup lint unit crash fuzz ## everything that CI runs

setup:
	scripts/setup

lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo deny --log-level error check licenses bans sources

unit:
	cargo nextest run --locked --workspace --no-fail-fast -E 'not test(/kill_nine/)'
	cargo test --locked --workspace --doc --quiet

crash: ## SIGKILL under load: COFFERDAM_CRASHES times, 300 unless said otherwise
	COFFERDAM_CRASHES=$(or $(COFFERDAM_CRASHES),300) cargo nextest run --locked --workspace --no-capture -E 'test(/kill_nine/)'

guests: ## agents of others, from PyPI and npm, behind the walls: all of examples/guests
	scripts/setup-guests
	COFFERDAM_GUESTS=1 cargo nextest run --locked --package cofferdam --test cli -E 'test(/guest_/)'

fuzz: ## every parser of outside data, FUZZ_SECONDS each
	scripts/fuzz $(or $(FUZZ_SECONDS),60)

# Built first and run in silence: only figures are printed. Timing never decides. What is handed out is built before: a
# bench builds the program with all that tests turn on, which is four megabytes more.
bench: release ## figures and their ratio to the limit, or to the peer, measured in the same run
	@scripts/setup-bench
	@cargo bench --locked --no-run --workspace --bench '*'
	@cargo bench --locked --quiet --workspace --bench '*'

test-peers: setup guests ## the long ones, an hour together: 1,000 kills, three minutes of fuzzing for each parser, every guest
	$(MAKE) crash COFFERDAM_CRASHES=$(or $(COFFERDAM_CRASHES),1000)
	$(MAKE) fuzz FUZZ_SECONDS=$(or $(FUZZ_SECONDS),180)

release: ## the program as it is handed out, at target/handed-out/cofferdam
	cargo build --locked --release --quiet --package cofferdam
	install -D $(TARGET)/release/cofferdam $(TARGET)/handed-out/cofferdam

clean:
	cargo clean
