# The steps of .ci/run, one by one. `just` alone runs them all.

default: test outside containers format lint doc deny

# Everything that has a test.
test:
    cargo test --workspace

# A package outside the workspace publishes, serves and fetches with the libraries alone.
outside:
    .ci/outside

# Two scenarios on containers, where the machine has what they need; says so where it does not.
containers:
    .ci/containers

# Formatting, as `cargo fmt --all` leaves it.
format:
    cargo fmt --all --check

# Clippy with warnings denied, and with every way of finding peers left out.
lint:
    cargo clippy --workspace --all-targets -- -D warnings
    for features in "" dht,dns mdns; do \
        cargo clippy -p phase -p phase-client-bin -p phase-provider-bin --no-default-features --features "$features" \
            -- -D warnings || exit 1; done

# Documentation without warnings.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Licences, advisories and duplicate crates; needs cargo-deny.
deny:
    command -v cargo-deny >/dev/null && cargo deny check licenses bans sources || echo "cargo-deny is not installed: skipped"

# The whole system on one machine.
demo *ARGS:
    cargo run --release -p phase -- demo {{ARGS}}

# Phase against the bare pipeline, and publishing against FastCDC alone.
bench:
    cargo run --release -p phase-benches --bin side-by-side
    cargo run --release -p phase-benches --bin publish-speed

# Every swarm scenario in virtual time; figures and pictures in target/sim.
sim *ARGS:
    cargo run --release -p phase-testnet --no-default-features -- sim testnet/scenarios/sim/*.toml --out target/sim {{ARGS}}

# Real nodes in containers: `just testnet smoke`. Needs Docker and root.
testnet *ARGS:
    cargo run --release -p phase-testnet --no-default-features -- run {{ARGS}}

# The parts, by criterion.
bench-parts:
    cargo bench -p phase-benches

# Phase as a user runs it against curl from nginx, sendme and libtorrent: whichever of them is installed.
compare *ARGS: _release-binaries
    benches/compare/rivals {{ARGS}}

# A thousand small artifacts against one large one.
compare-small-files *ARGS: _release-binaries
    benches/compare/small-files {{ARGS}}

# Several providers behind limited links, and faults near the end, in containers. Needs Docker and root.
compare-shaped *ARGS:
    cargo run --release -p phase-testnet --no-default-features -- run throughput unequal-providers late-loss late-slow late-stall {{ARGS}}

# What the comparisons run.
_release-binaries:
    cargo build --release -p phase -p phase-provider-bin -p phase-client-bin -p phase-benches --bins

# SIGKILL a fetching client fifty times, and a publisher.
kill-loop:
    cargo build --release --workspace --bins
    cargo test --release -p phase --test network survives_kill -- --nocapture

# Ten minutes of load, cancels, stalls, cuts and restarts, and no task, descriptor or memory too many.
soak *ARGS:
    cargo run --release -p phase-testnet -- soak {{ARGS}}
