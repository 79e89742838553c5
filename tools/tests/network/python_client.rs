//! A client in Python, which shares no code with Phase, fetches a release from a provider. It refuses a release that
//! the trust root does not permit.
//!
//! The client is `docs/examples/fetch.py`. The test runs the interpreter in `PHASE_PYTHON`, or `python3`, which must
//! have the packages of `docs/examples/requirements.txt`. If packages are missing, the test prints the reason and
//! passes, unless `PHASE_REQUIRE_PYTHON=1`.

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::Process;
use super::test_network::{NAME, TestNetwork, assert_same, run};

/// The size of a file that needs more than one request. The client requests at most 256 chunks at once, of 128 KiB on
/// average.
const LARGE: usize = 40 << 20;
/// The exit code of the Python client if a signature, hash or name does not verify.
const UNTRUSTED: i32 = 6;

/// Returns the path of a file in `docs/examples`.
fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples").join(name)
}

/// Returns a Python interpreter that has all required packages, or the reason why there is none.
fn interpreter() -> Result<String, String> {
    let python = env::var("PHASE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let imports = Command::new(&python).args(["-c", "import blake3, cbor2, libp2p, nacl"]).output();
    match imports {
        Ok(output) if output.status.success() => Ok(python),
        Ok(_) => Err(format!("{python} lacks a package of docs/examples/requirements.txt")),
        Err(error) => Err(format!("{python} cannot be started: {error}")),
    }
}

fn client(python: &str, network: &TestNetwork, root: &str, provider: &str, name: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(example("fetch.py")).args(["--root", root, "--output", "python.out", provider, name]);
    command.current_dir(network.sandbox.path(""));
    command
}

#[test]
fn a_client_in_python_fetches_and_verifies_a_release() {
    let python = match interpreter() {
        Ok(python) => python,
        Err(why) => {
            let is_required = env::var_os("PHASE_REQUIRE_PYTHON").is_some_and(|value| value == "1");
            assert!(!is_required, "PHASE_REQUIRE_PYTHON is set, but {why}");
            // `eprintln!` is not used, because the test harness hides its output if the test passes.
            drop(writeln!(io::stderr(), "SKIPPED a_client_in_python_fetches_and_verifies_a_release: {why}"));
            return;
        }
    };
    let network = TestNetwork::new();
    network.sandbox.file("kernel", LARGE);
    network.sandbox.file("small", 3);
    network.sandbox.file("empty", 0);
    network.publish("seed", "--artifact kernel=kernel --artifact small=small --artifact empty=empty");
    let provider = network.provide("seed");

    let fetched = Process::start(&mut client(&python, &network, "root.cbor", &provider.address, NAME)).end();
    assert_eq!(fetched.code, 0, "{}{}", fetched.stdout, fetched.stderr);
    assert!(fetched.stdout.contains("verified stable/x86_64: version 1, 3 artifacts"), "{}", fetched.stdout);
    for name in ["kernel", "small", "empty"] {
        assert_same(&network.sandbox.path(name), &network.sandbox.path("python.out").join(name));
    }

    network.sandbox.json("key new other.key");
    network.sandbox.json("root new --channel stable --key other.key -o other.cbor");
    let refused = run(client(&python, &network, "other.cbor", &provider.address, NAME));
    assert_eq!(refused.code, UNTRUSTED, "{}{}", refused.stdout, refused.stderr);
    let unknown = run(client(&python, &network, "root.cbor", &provider.address, "stable/aarch64"));
    assert_eq!(unknown.code, 1, "{}{}", unknown.stdout, unknown.stderr);
}
