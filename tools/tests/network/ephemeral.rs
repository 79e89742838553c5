//! A fetch with `--ephemeral` leaves no trace. It writes only the files of `--output`, and uses a new identity for each
//! run.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::process::binary;
use super::test_network::{NAME, Provider, TestNetwork, assert_same, json};

const LEN: usize = 3 << 20;
/// The folders in which a program might leave files: home, working and temporary directory.
const PLACES: [&str; 3] = ["home", "work", "tmp"];

/// Starts a network with a release of one file, and creates the folders in [`PLACES`].
fn network() -> (TestNetwork, Provider) {
    let network = TestNetwork::new();
    network.sandbox.file("kernel", LEN);
    network.publish("store", "--artifact kernel=kernel");
    let mut command = network.provider("store");
    command.arg("-vv");
    let mut provider = Provider::start(command);
    provider.announced();
    PLACES.iter().for_each(|place| std::fs::create_dir(network.sandbox.path(place)).unwrap());
    (network, provider)
}

/// Returns the command `phase-client fetch --ephemeral`. `wrapper` is the command that starts `phase-client`. Its home,
/// working and temporary directories are the folders in [`PLACES`].
fn fetch(network: &TestNetwork, mut wrapper: Command) -> Command {
    let path = |name: &str| network.sandbox.path(name);
    wrapper.args(["fetch", NAME, "--ephemeral", "--json", "--bootstrap", network.address(), "--root"]);
    wrapper.arg(path("root.cbor")).current_dir(path("work")).env_clear().env("PHASE_NO_MDNS", "1");
    wrapper.env("HOME", path("home")).env("TMPDIR", path("tmp")).env("PHASE_STORE", "store");
    wrapper
}

/// Returns a command that starts `phase-client` with a limit of 0 bytes for files, so that the system kills it when it
/// writes to a file. Writing to pipes and sockets is permitted.
fn unable_to_write() -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -f 0 && exec \"$0\" \"$@\""]).arg(binary("phase-client").get_program());
    command
}

/// Returns the path and the length of every file in the folders of [`PLACES`], and of every subfolder with the length
/// 0.
fn left_in(network: &TestNetwork) -> BTreeSet<(String, u64)> {
    let mut found = BTreeSet::new();
    PLACES.iter().for_each(|place| list(&network.sandbox.path(place), place, &mut found));
    found
}

fn list(folder: &Path, name: &str, found: &mut BTreeSet<(String, u64)>) {
    for entry in folder.read_dir().unwrap() {
        let entry = entry.unwrap();
        let name = format!("{name}/{}", entry.file_name().to_str().unwrap());
        let meta = entry.metadata().unwrap();
        if meta.is_dir() {
            list(&entry.path(), &name, found);
        }
        found.insert((name, if meta.is_dir() { 0 } else { meta.len() }));
    }
}

#[test]
fn no_file_is_written_and_every_run_has_a_new_identity() {
    let (network, provider) = network();
    for _ in 0..2 {
        let report = json(fetch(&network, unable_to_write()));
        assert_eq!(report["bytes"], LEN);
        assert_eq!(left_in(&network), BTreeSet::new());
    }
    let log = provider.process.stop().stderr;
    let met = log.lines().filter(|line| line.contains(" connected "));
    let met = met.filter_map(|line| line.split_once("peer=")?.1.split(' ').next());
    let met: BTreeSet<_> = met.filter(|peer| !network.address().ends_with(peer)).collect();
    assert_eq!(met.len(), 2, "{log}");
}

#[test]
fn only_the_files_of_the_output_option_are_written() {
    let (network, _provider) = network();
    let mut command = fetch(&network, binary("phase-client"));
    command.args(["--output", "out"]);
    json(command);
    let expected = [("work/out", 0), ("work/out/kernel", LEN as u64)].map(|(name, len)| (name.to_owned(), len));
    assert_eq!(left_in(&network), expected.into());
    assert_same(&network.sandbox.path("work/out/kernel"), &network.sandbox.path("kernel"));
}
