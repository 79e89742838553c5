//! Which package of this workspace may use which. ARCHITECTURE.md draws the same.

use phase_layers::packages::Layer;

/// What a library must not burden its users with.
const FOR_COMMAND_LINES: &[&str] = &["clap", "indicatif", "tracing-subscriber"];

/// What cannot be in a library of state machines, and would only slow down whoever simulates with it.
const INPUT_AND_OUTPUT: &[&str] = &["clap", "indicatif", "tracing-subscriber", "tokio", "libp2p", "socket2"];

/// What needs no network of its own is built without one.
const NETWORK: &[&str] = &["tokio", "libp2p", "socket2"];

/// What tests share. No library or binary uses it.
const SUPPORT: &[&str] = &["phase-test-support"];

/// From the bottom up.
pub(crate) const LAYERS: &[Layer] = &[
    library("phase-core", &[]),
    Layer { never_pulls: INPUT_AND_OUTPUT, ..library("phase-protocol", &["phase-core"]) },
    library("phase-node", &["phase-core"]),
    library("phase-transfer", &["phase-core", "phase-protocol", "phase-node"]),
    library("phase-client", &["phase-core", "phase-protocol", "phase-node", "phase-transfer"]),
    library("phase-provider", &["phase-core", "phase-protocol", "phase-node", "phase-transfer"]),
    program("phase-cli", &["phase-core", "phase-node", "phase-transfer", "phase-client", "phase-units"]),
    // The three binaries.
    program("phase-client-bin", &["phase-core", "phase-node", "phase-client", "phase-cli"]),
    program("phase-provider-bin", &["phase-core", "phase-node", "phase-provider", "phase-cli"]),
    program("phase", &["phase-core", "phase-node", "phase-transfer", "phase-client", "phase-provider", "phase-cli"]),
    // The testnet: what reads and draws, then what runs. Only the binaries inside containers are command lines of Phase.
    library("phase-units", &[]),
    Layer { never_pulls: NETWORK, ..program("phase-scenario", &["phase-units"]) },
    Layer { never_pulls: NETWORK, ..program("phase-report", &["phase-units", "phase-scenario"]) },
    Layer {
        never_pulls: NETWORK,
        ..program("phase-sim", &["phase-core", "phase-protocol", "phase-units", "phase-scenario", "phase-report"])
    },
    program("phase-lab", &["phase-core", "phase-units", "phase-scenario", "phase-report", "phase-sim"]),
    program(
        "phase-soak",
        &[
            "phase-core",
            "phase-protocol",
            "phase-node",
            "phase-transfer",
            "phase-client",
            "phase-provider",
            "phase-units",
            "phase-report",
        ],
    ),
    program(
        "phase-testnet-nodes",
        &[
            "phase-core",
            "phase-protocol",
            "phase-node",
            "phase-transfer",
            "phase-cli",
            "phase-units",
            "phase-scenario",
            "phase-lab",
        ],
    ),
    program(
        "phase-testnet",
        &["phase-units", "phase-scenario", "phase-report", "phase-sim", "phase-lab", "phase-soak"],
    ),
    // What measures and checks.
    program(
        "phase-benches",
        &[
            "phase-core",
            "phase-protocol",
            "phase-node",
            "phase-transfer",
            "phase-client",
            "phase-provider",
            "phase-units",
            "phase-report",
            "phase-soak",
        ],
    ),
    program("phase-test-support", &["phase-core"]),
    program("phase-layers", &[]),
];

const fn library(package: &'static str, uses: &'static [&'static str]) -> Layer {
    Layer { package, uses, tests_use: SUPPORT, never_pulls: FOR_COMMAND_LINES }
}

const fn program(package: &'static str, uses: &'static [&'static str]) -> Layer {
    Layer { package, uses, tests_use: SUPPORT, never_pulls: &[] }
}
