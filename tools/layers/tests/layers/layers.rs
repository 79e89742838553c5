//! Which package of this workspace may use which. ARCHITECTURE.md draws the same.

use phase_layers::packages::Layer;

/// What a library must not burden its users with.
const FOR_COMMAND_LINES: &[&str] = &["clap", "indicatif", "tracing-subscriber"];

/// What cannot be in a library of state machines.
const INPUT_AND_OUTPUT: &[&str] = &["clap", "indicatif", "tracing-subscriber", "tokio", "libp2p", "socket2"];

/// What tests share. No library or binary uses it.
const SUPPORT: &[&str] = &["phase-test-support"];

/// From the bottom up.
pub(crate) const LAYERS: &[Layer] = &[
    library("phase-units", &[]),
    library("phase-core", &[]),
    Layer { never_pulls: INPUT_AND_OUTPUT, ..library("phase-protocol", &["phase-core"]) },
    library("phase-node", &["phase-core"]),
    library("phase-transfer", &["phase-core", "phase-protocol", "phase-node"]),
    library("phase-client", &["phase-core", "phase-protocol", "phase-node", "phase-transfer"]),
    library("phase-provider", &["phase-core", "phase-protocol", "phase-node", "phase-transfer"]),
    program("phase-cli", &["phase-units", "phase-core", "phase-node", "phase-transfer", "phase-client"]),
    // The three binaries. Nothing else uses phase-cli.
    program("phase-client-bin", &["phase-core", "phase-node", "phase-client", "phase-cli"]),
    program("phase-provider-bin", &["phase-core", "phase-node", "phase-provider", "phase-cli"]),
    program(
        "phase",
        &[
            "phase-core",
            "phase-protocol",
            "phase-node",
            "phase-transfer",
            "phase-client",
            "phase-provider",
            "phase-cli",
        ],
    ),
    // What tries the others out.
    program("phase-test-support", &["phase-core"]),
    library("phase-scenario", &["phase-units"]),
    library("phase-report", &["phase-units", "phase-scenario"]),
    Layer {
        never_pulls: INPUT_AND_OUTPUT,
        ..library("phase-sim", &["phase-core", "phase-protocol", "phase-scenario", "phase-report"])
    },
    library("phase-lab", &["phase-core", "phase-scenario", "phase-report", "phase-sim"]),
    library(
        "phase-soak",
        &[
            "phase-core",
            "phase-protocol",
            "phase-node",
            "phase-transfer",
            "phase-client",
            "phase-provider",
            "phase-report",
        ],
    ),
    program(
        "phase-testnet-nodes",
        &["phase-core", "phase-protocol", "phase-node", "phase-transfer", "phase-cli", "phase-scenario", "phase-lab"],
    ),
    program("phase-testnet", &["phase-scenario", "phase-report", "phase-sim", "phase-lab", "phase-soak"]),
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
    program("phase-layers", &[]),
];

const fn library(package: &'static str, uses: &'static [&'static str]) -> Layer {
    Layer { package, uses, tests_use: SUPPORT, never_pulls: FOR_COMMAND_LINES }
}

const fn program(package: &'static str, uses: &'static [&'static str]) -> Layer {
    Layer { package, uses, tests_use: SUPPORT, never_pulls: &[] }
}
