# The steps of .ci/run, one by one. `just` alone runs them all.

default: test format lint doc deny

# Everything that has a test.
test:
    cargo test --workspace

# Formatting, as `cargo fmt --all` leaves it.
format:
    cargo fmt --all --check

# Clippy with warnings denied, with and without the network, and with every way of finding peers left out.
lint:
    cargo clippy --workspace --all-targets -- -D warnings
    cargo clippy -p phase-transfer --all-targets -- -D warnings
    for features in "" dht mdns peer dht,mdns dht,peer mdns,peer dht,mdns,peer; do \
        cargo clippy -p phase -p phase-client -p phase-provider --no-default-features --features "$features" \
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

# The parts, by criterion.
bench-parts:
    cargo bench -p phase-benches

# SIGKILL a fetching client fifty times, and a publisher.
kill-loop:
    cargo build --release --workspace --bins
    cargo test --release -p phase --test network survives_kill -- --nocapture

# Ten minutes of load, cancels, stalls, cuts and restarts, and no task, descriptor or memory too many.
soak *ARGS:
    cargo run --release -p phase-testnet -- soak {{ARGS}}
