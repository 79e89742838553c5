//! A test network with one bootstrap node, and the commands that join it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::process::{Process, binary};
use super::sandbox::{Run, Sandbox};

/// The name under which tests publish.
pub(crate) const NAME: &str = "stable/x86_64";
/// The listen address of every node, with a port that the system chooses.
const LISTEN: &str = "/ip4/127.0.0.1/tcp/0";

/// A folder with a signing key and a trust root, and a running bootstrap node.
pub(crate) struct TestNetwork {
    pub(crate) sandbox: Sandbox,
    bootstrap: Provider,
}

/// A running `phase-provider`.
pub(crate) struct Provider {
    pub(crate) process: Process,
    pub(crate) peer: String,
    pub(crate) address: String,
}

impl TestNetwork {
    pub(crate) fn new() -> Self {
        let sandbox = Sandbox::with_root();
        let bootstrap = Provider::start(provider(&sandbox, "bootstrap", LISTEN));
        Self { sandbox, bootstrap }
    }

    /// Returns the address of the bootstrap node, the only address that the other processes know.
    pub(crate) fn address(&self) -> &str {
        &self.bootstrap.address
    }

    /// Publishes a release in a store. `content` has the options of `phase publish` that name the files.
    pub(crate) fn publish(&self, store: &str, content: &str) -> Value {
        let signing = "--root root.cbor --key a.key --channel stable --arch x86_64";
        self.sandbox.json(&format!("publish --store {store} {signing} {content}"))
    }

    /// Returns the command that runs a provider on a store.
    pub(crate) fn provider(&self, store: &str) -> Command {
        let mut command = provider(&self.sandbox, store, LISTEN);
        command.args(["--bootstrap", self.address()]);
        command
    }

    /// Starts a provider, and waits until it has announced everything in its store.
    pub(crate) fn provide(&self, store: &str) -> Provider {
        let mut provider = Provider::start(self.provider(store));
        provider.announced();
        provider
    }

    /// Returns a command that runs `phase` with these words as arguments, and with the address of the bootstrap node.
    pub(crate) fn phase(&self, words: &str) -> Command {
        self.sandbox.command(&format!("{words} --bootstrap {}", self.address()))
    }

    /// Returns a command that runs `phase fetch` to fetch [`NAME`] into a store.
    pub(crate) fn fetch(&self, store: &str) -> Command {
        let mut command = self.phase(&format!("fetch {NAME} --root root.cbor --store {store} --listen {LISTEN}"));
        command.args(["--json", "--output"]).arg(output(store));
        command
    }

    /// Returns a command that runs `phase-client fetch` to fetch [`NAME`] into a store.
    pub(crate) fn client_fetch(&self, store: &str) -> Command {
        let mut command = binary("phase-client");
        command.args(["fetch", NAME, "--root", "root.cbor", "--store", store, "--listen", LISTEN, "--json"]);
        command.arg("--output").arg(output(store)).args(["--bootstrap", self.address()]);
        in_folder(&mut command, &self.sandbox);
        command
    }

    /// Returns the path to which [`fetch`](Self::fetch) and [`client_fetch`](Self::client_fetch) export a file.
    pub(crate) fn fetched(&self, store: &str, name: &str) -> PathBuf {
        self.sandbox.path(&output(store)).join(name)
    }
}

fn output(store: &str) -> String {
    format!("{store}.out")
}

fn provider(sandbox: &Sandbox, store: &str, listen: &str) -> Command {
    let mut command = binary("phase-provider");
    command.args(["serve", "--store", store, "--listen", listen]);
    in_folder(&mut command, sandbox);
    command
}

fn in_folder(command: &mut Command, sandbox: &Sandbox) {
    command.current_dir(sandbox.path("")).env_clear().env("HOME", sandbox.path(""));
    // mDNS is off, so that a test sends nothing to other machines.
    command.env("PHASE_NO_MDNS", "1");
}

impl Provider {
    /// Starts a provider and waits until it listens.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut process = Process::start(&mut command);
        let peer = process.line(|line| line.strip_prefix("serving ").map(str::to_owned));
        let address = process.line(|line| line.strip_prefix("listening ").map(str::to_owned));
        Self { process, peer, address }
    }

    /// Waits until the provider prints that it has announced everything. Returns the number of announced DHT keys.
    pub(crate) fn announced(&mut self) -> usize {
        self.process.line(|line| line.strip_prefix("announced ")?.split(' ').next()?.parse().ok())
    }
}

/// Runs a command until it ends, and returns its output.
pub(crate) fn run(mut command: Command) -> Run {
    Process::start(&mut command).end()
}

/// Runs a command that must succeed, and returns the JSON document that it prints.
#[track_caller]
pub(crate) fn json(mut command: Command) -> Value {
    document(Process::start(&mut command))
}

/// Waits for a process that must succeed, and returns the JSON document that it prints.
#[track_caller]
pub(crate) fn document(process: Process) -> Value {
    let what = process.what().to_owned();
    let run = process.end();
    assert_eq!(run.code, 0, "{what}: {}", run.stderr);
    serde_json::from_str(&run.stdout).unwrap()
}

/// Runs a command that must fail with this exit code and a JSON error that contains all of `parts`. Returns the error.
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

/// Panics if two files do not have the same bytes.
#[track_caller]
pub(crate) fn assert_same(one: &Path, other: &Path) {
    let read = |path: &Path| std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(read(one) == read(other), "{} and {} differ", one.display(), other.display());
}

/// Returns the CID of a file in a published release.
#[track_caller]
pub(crate) fn cid<'a>(release: &'a Value, file: &str) -> &'a str {
    let artifacts = release["artifacts"].as_array().unwrap();
    artifacts.iter().find(|artifact| artifact["filename"] == file).unwrap()["cid"].as_str().unwrap()
}

/// Returns how many bytes of a file are allocated on disk, or 0 if the file does not exist. The file of a partial
/// artifact is sparse, so only its stored chunks count.
pub(crate) fn allocated(path: &Path) -> u64 {
    path.metadata().map_or(0, |meta| meta.blocks() * 512)
}
