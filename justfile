# `just` alone runs .ci/run, all checks that every commit on main passes. Most recipes are one of its steps.

default:
    .ci/run

# All tests.
test:
    cargo test --workspace

# Prints a Python interpreter with the packages of the example client: `PHASE_PYTHON=$(just python) just test` tests that client too.
@python:
    .ci/python

# A package outside the workspace that publishes, serves and fetches with the libraries alone.
outside:
    .ci/outside

# Two scenarios in containers; skipped if the machine lacks something for them.
containers:
    .ci/containers

# Checks the formatting.
format:
    cargo fmt --all --check

# Clippy with warnings denied, also with each kind of discovery left out.
lint:
    cargo clippy --workspace --all-targets -- -D warnings
    for features in "" dht,dns mdns; do \
        cargo clippy -p phase -p phase-client-bin -p phase-provider-bin --no-default-features --features "$features" \
            -- -D warnings || exit 1; done

# Documentation without warnings.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Licences, banned crates and sources of crates; needs cargo-deny.
deny:
    command -v cargo-deny >/dev/null && cargo deny check licenses bans sources || echo "cargo-deny is not installed: skipped"

# The whole system on one machine.
demo *ARGS:
    cargo run --release -p phase -- demo {{ARGS}}

# Phase against a bare TCP or libp2p stream, and publishing against FastCDC alone.
bench:
    cargo run --release -p phase-benches --bin side-by-side
    cargo run --release -p phase-benches --bin publish-speed

# All swarm scenarios in virtual time; writes figures and pictures to target/sim.
sim *ARGS:
    cargo run --release -p phase-testnet --no-default-features -- sim testnet/scenarios/sim/*.toml --out target/sim {{ARGS}}

# Real nodes in containers: `just testnet smoke`. Needs Docker and root.
testnet *ARGS:
    cargo run --release -p phase-testnet --no-default-features -- run {{ARGS}}

# Criterion benches of single parts.
bench-parts:
    cargo bench -p phase-benches

# Phase as users run it, against curl with nginx, sendme and libtorrent, as far as they are installed.
compare *ARGS: _release-binaries
    benches/compare/rivals {{ARGS}}

# A thousand small artifacts against one large one.
compare-small-files *ARGS: _release-binaries
    benches/compare/small-files {{ARGS}}

# Several providers with limited links, and faults near the end of a fetch, in containers. Needs Docker and root.
compare-shaped *ARGS:
    cargo run --release -p phase-testnet --no-default-features -- run throughput unequal-providers late-loss late-slow late-stall {{ARGS}}

# The binaries for the comparisons.
_release-binaries:
    cargo build --release -p phase -p phase-provider-bin -p phase-client-bin -p phase-benches --bins

# Kills a fetching client fifty times with SIGKILL, and a publisher; both must recover.
kill-loop:
    cargo build --release --workspace --bins
    cargo test --release -p phase --test network survives_kill -- --nocapture
    PHASE_KILLS=1000 cargo test --release -p phase --test network killed_ -- --nocapture

# Ten minutes of load, cancels, stalls, cuts and restarts; no task, descriptor or memory may leak.
soak *ARGS:
    cargo run --release -p phase-testnet -- soak {{ARGS}}
