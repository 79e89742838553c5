//! `--ephemeral` leaves nothing behind: not on the disk, but for the output that was asked for, and no identity by which the
//! next run could be recognised.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::process::binary;
use super::setting::{NAME, Provider, Setting, assert_same, json};

const LEN: usize = 3 << 20;
/// Where a program puts what nobody asked for.
const PLACES: [&str; 3] = ["home", "work", "tmp"];

/// A network with a release of one file, and places in which a client may leave something.
fn setting() -> (Setting, Provider) {
    let setting = Setting::new();
    setting.bench.file("kernel", LEN);
    setting.publish("store", "--artifact kernel=kernel");
    let mut command = setting.provider("store");
    command.arg("-vv");
    let mut provider = Provider::start(command);
    provider.announced();
    PLACES.iter().for_each(|place| std::fs::create_dir(setting.bench.path(place)).unwrap());
    (setting, provider)
}

/// `phase-client fetch --ephemeral` behind `wrapper`, in places of its own.
fn fetch(setting: &Setting, mut wrapper: Command) -> Command {
    let path = |name: &str| setting.bench.path(name);
    wrapper.args(["fetch", NAME, "--ephemeral", "--json", "--bootstrap", setting.address(), "--root"]);
    wrapper.arg(path("root.cbor")).current_dir(path("work")).env_clear().env("PHASE_NO_MDNS", "1");
    wrapper.env("HOME", path("home")).env("TMPDIR", path("tmp")).env("PHASE_STORE", "store");
    wrapper
}

/// Runs `phase-client` so that the first byte it writes to any file anywhere kills it. Pipes and sockets are no files.
fn unable_to_write() -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -f 0 && exec \"$0\" \"$@\""]).arg(binary("phase-client").get_program());
    command
}

/// Everything in the places, with the lengths of files.
fn left_in(setting: &Setting) -> BTreeSet<(String, u64)> {
    let mut found = BTreeSet::new();
    PLACES.iter().for_each(|place| list(&setting.bench.path(place), place, &mut found));
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
fn nothing_is_written_and_every_run_is_somebody_else() {
    let (setting, provider) = setting();
    for _ in 0..2 {
        let report = json(fetch(&setting, unable_to_write()));
        assert_eq!(report["bytes"], LEN);
        assert_eq!(left_in(&setting), BTreeSet::new());
    }
    let log = provider.process.stop().stderr;
    let met = log.lines().filter(|line| line.contains(" connected "));
    let met = met.filter_map(|line| line.split_once("peer=")?.1.split(' ').next());
    let met: BTreeSet<_> = met.filter(|peer| !setting.address().ends_with(peer)).collect();
    assert_eq!(met.len(), 2, "{log}");
}

#[test]
fn only_the_output_is_written() {
    let (setting, _provider) = setting();
    let mut command = fetch(&setting, binary("phase-client"));
    command.args(["--output", "out"]);
    json(command);
    let expected = [("work/out", 0), ("work/out/kernel", LEN as u64)].map(|(name, len)| (name.to_owned(), len));
    assert_eq!(left_in(&setting), expected.into());
    assert_same(&setting.bench.path("work/out/kernel"), &setting.bench.path("kernel"));
}
