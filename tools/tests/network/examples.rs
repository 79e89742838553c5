//! The examples of the libraries work together: `publish` publishes a release, `serve` serves it, `discover` finds it,
//! and `fetch` fetches it.

use std::process::Command;

use rustix::process::Signal;

use super::process::{Process, binary};
use super::sandbox::Sandbox;
use super::test_network::assert_same;

const LEN: usize = 3 << 20;

fn example(sandbox: &Sandbox, name: &str, arguments: &[&str]) -> Command {
    let mut command = binary(&format!("examples/{name}"));
    command.args(arguments).current_dir(sandbox.path(""));
    command
}

#[test]
fn the_examples_publish_serve_discover_and_fetch() {
    let sandbox = Sandbox::new();
    sandbox.file("vmlinuz", LEN);
    let published =
        Process::start(&mut example(&sandbox, "publish", &["seed", "stable/x86_64", "vmlinuz", "root.cbor"])).end();
    assert_eq!(published.code, 0, "{}", published.stderr);
    let mut serving = Process::start(&mut example(&sandbox, "serve", &["seed"]));
    let address = serving.line(|line| line.starts_with("/ip4/").then(|| line.to_owned()));

    let found = Process::start(&mut example(&sandbox, "discover", &[&address, "stable/x86_64", "root.cbor"])).end();
    assert_eq!(found.code, 0, "{}", found.stderr);
    let peer = address.rsplit('/').next().unwrap();
    assert!(found.stdout.contains("is version 1") && found.stdout.contains(peer), "{}", found.stdout);

    let arguments = [&address, "stable/x86_64", "root.cbor", "here", "out"];
    let fetched = Process::start(&mut example(&sandbox, "fetch", &arguments)).end();
    assert_eq!(fetched.code, 0, "{}", fetched.stderr);
    assert_same(&sandbox.path("vmlinuz"), &sandbox.path("out/vmlinuz"));
    serving.signal(Signal::INT);
    assert_eq!(serving.end().code, 0);
}
