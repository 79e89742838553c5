//! The table of layers: which package of this workspace may use which. ARCHITECTURE.md has a drawing of it.

use phase_layers::packages::Layer;

/// Packages that a library must not depend on, because only command lines need them.
const FOR_COMMAND_LINES: &[&str] = &["clap", "indicatif", "tracing-subscriber"];

/// Packages that `phase-protocol` must not depend on, because its state machines do no I/O and the simulator should
/// build without these packages.
const INPUT_AND_OUTPUT: &[&str] = &["clap", "indicatif", "tracing-subscriber", "tokio", "libp2p", "socket2"];

/// Packages for networking, which a program that opens no socket must not depend on.
const NETWORK: &[&str] = &["tokio", "libp2p", "socket2"];

/// The package with the helpers that tests share. No library or binary may use it.
const SUPPORT: &[&str] = &["phase-test-support"];

/// The table of layers: each package of the workspace, and the packages that it may use.
pub(crate) const LAYERS: &[Layer] = &[
    library("phase-core", &[]),
    Layer { never_pulls: INPUT_AND_OUTPUT, ..library("phase-protocol", &["phase-core"]) },
    library("phase-node", &["phase-core"]),
    library("phase-transfer", &["phase-core", "phase-protocol", "phase-node"]),
    library("phase-client", &["phase-core", "phase-protocol", "phase-node", "phase-transfer"]),
    library("phase-provider", &["phase-core", "phase-protocol", "phase-node", "phase-transfer"]),
    program("phase-cli", &["phase-core", "phase-node", "phase-transfer", "phase-client", "phase-units"]),
    // The three programs of Phase.
    program("phase-client-bin", &["phase-core", "phase-node", "phase-client", "phase-cli"]),
    program("phase-provider-bin", &["phase-core", "phase-node", "phase-provider", "phase-cli"]),
    program("phase", &["phase-core", "phase-node", "phase-transfer", "phase-client", "phase-provider", "phase-cli"]),
    // The testnet. The packages that read scenarios and draw reports come before the packages that run scenarios. Of
    // the testnet's packages, only phase-testnet-nodes, which has the programs for the containers, may use phase-cli.
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
    // Benches, test support and checks.
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
