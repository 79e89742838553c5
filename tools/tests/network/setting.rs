//! A bootstrap node, and how the other commands join its network.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::bench::{Bench, Run};
use super::process::{Process, binary};

/// The name under which tests publish.
pub(crate) const NAME: &str = "stable/x86_64";
/// Loopback, on a port that the system chooses.
const LISTEN: &str = "/ip4/127.0.0.1/tcp/0";

/// A folder with a key and a root, and a bootstrap node.
pub(crate) struct Setting {
    pub(crate) bench: Bench,
    bootstrap: Provider,
}

/// A running `phase-provider`.
pub(crate) struct Provider {
    pub(crate) process: Process,
    pub(crate) peer: String,
    pub(crate) address: String,
}

impl Setting {
    pub(crate) fn new() -> Self {
        let bench = Bench::with_root();
        let bootstrap = Provider::start(provider(&bench, "bootstrap", LISTEN));
        Self { bench, bootstrap }
    }

    /// The only address that everybody knows.
    pub(crate) fn address(&self) -> &str {
        &self.bootstrap.address
    }

    /// Publishes into a store.
    pub(crate) fn publish(&self, store: &str, content: &str) -> Value {
        let signing = "--root root.cbor --key a.key --channel stable --arch x86_64";
        self.bench.json(&format!("publish --store {store} {signing} {content}"))
    }

    /// The command that runs a provider on a store.
    pub(crate) fn provider(&self, store: &str) -> Command {
        let mut command = provider(&self.bench, store, LISTEN);
        command.args(["--bootstrap", self.address()]);
        command
    }

    /// A provider that has announced everything in its store.
    pub(crate) fn provide(&self, store: &str) -> Provider {
        let mut provider = Provider::start(self.provider(store));
        provider.announced();
        provider
    }

    /// A command of `phase` that joins the network.
    pub(crate) fn phase(&self, words: &str) -> Command {
        self.bench.command(&format!("{words} --bootstrap {}", self.address()))
    }

    /// `phase fetch` into a store.
    pub(crate) fn fetch(&self, store: &str) -> Command {
        let mut command = self.phase(&format!("fetch {NAME} --root root.cbor --store {store} --listen {LISTEN}"));
        command.args(["--json", "--output"]).arg(output(store));
        command
    }

    /// `phase-client fetch` into a store.
    pub(crate) fn client_fetch(&self, store: &str) -> Command {
        let mut command = binary("phase-client");
        command.args(["fetch", NAME, "--root", "root.cbor", "--store", store, "--listen", LISTEN, "--json"]);
        command.arg("--output").arg(output(store)).args(["--bootstrap", self.address()]);
        in_folder(&mut command, &self.bench);
        command
    }

    /// Where [`fetch`](Self::fetch) and [`client_fetch`](Self::client_fetch) put a file.
    pub(crate) fn fetched(&self, store: &str, name: &str) -> PathBuf {
        self.bench.path(&output(store)).join(name)
    }
}

fn output(store: &str) -> String {
    format!("{store}.out")
}

fn provider(bench: &Bench, store: &str, listen: &str) -> Command {
    let mut command = binary("phase-provider");
    command.args(["serve", "--store", store, "--listen", listen]);
    in_folder(&mut command, bench);
    command
}

fn in_folder(command: &mut Command, bench: &Bench) {
    command.current_dir(bench.path("")).env_clear().env("HOME", bench.path(""));
    // Nothing of a test leaves the machine.
    command.env("PHASE_NO_MDNS", "1");
}

impl Provider {
    /// Starts it and waits until it serves.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut process = Process::start(&mut command);
        let peer = process.line(|line| line.strip_prefix("serving ").map(str::to_owned));
        let address = process.line(|line| line.strip_prefix("listening ").map(str::to_owned));
        Self { process, peer, address }
    }

    /// Waits until it says that it has announced everything; returns how many keys.
    pub(crate) fn announced(&mut self) -> usize {
        self.process.line(|line| line.strip_prefix("announced ")?.split(' ').next()?.parse().ok())
    }
}

/// Runs a command to its end.
pub(crate) fn run(mut command: Command) -> Run {
    Process::start(&mut command).end()
}

/// Runs what must succeed and returns the JSON document it prints.
#[track_caller]
pub(crate) fn json(mut command: Command) -> Value {
    document(Process::start(&mut command))
}

/// Waits for what must succeed and returns the JSON document it prints.
#[track_caller]
pub(crate) fn document(process: Process) -> Value {
    let what = process.what().to_owned();
    let run = process.end();
    assert_eq!(run.code, 0, "{what}: {}", run.stderr);
    serde_json::from_str(&run.stdout).unwrap()
}

/// Runs what must fail with that code and a JSON error that has all of `parts`; returns the error.
#[track_caller]
pub(crate) fn fails(command: Command, code: i32, parts: &[&str]) -> String {
    let what = format!("{command:?}");
    let run = run(command);
    assert_eq!(run.code, code, "{what}: {}{}", run.stdout, run.stderr);
    let line = run.stderr.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{}", run.stderr));
    let document: Value = serde_json::from_str(line).unwrap();
    let text = document["error"].as_str().unwrap();
    for part in parts {
        assert!(text.contains(part), "{what}: {part:?} is not in {text:?}");
    }
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    text.to_owned()
}

/// Compares two files byte by byte.
#[track_caller]
pub(crate) fn assert_same(one: &Path, other: &Path) {
    let read = |path: &Path| std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(read(one) == read(other), "{} and {} differ", one.display(), other.display());
}

/// The CID of a file in a published release.
#[track_caller]
pub(crate) fn cid<'a>(release: &'a Value, file: &str) -> &'a str {
    let artifacts = release["artifacts"].as_array().unwrap();
    artifacts.iter().find(|artifact| artifact["filename"] == file).unwrap()["cid"].as_str().unwrap()
}

/// How much of a file is on disk, in bytes; 0 if it is not there. Files that are being fetched have holes.
pub(crate) fn allocated(path: &Path) -> u64 {
    path.metadata().map_or(0, |meta| meta.blocks() * 512)
}
