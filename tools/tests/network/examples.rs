//! The examples of the libraries work together: what one publishes another serves, and two others find and fetch it.

use std::process::Command;

use rustix::process::Signal;

use super::bench::Bench;
use super::process::{Process, binary};
use super::setting::assert_same;

const LEN: usize = 3 << 20;

fn example(bench: &Bench, name: &str, arguments: &[&str]) -> Command {
    let mut command = binary(&format!("examples/{name}"));
    command.args(arguments).current_dir(bench.path(""));
    command
}

#[test]
fn the_examples_publish_serve_discover_and_fetch() {
    let bench = Bench::new();
    bench.file("vmlinuz", LEN);
    let published =
        Process::start(&mut example(&bench, "publish", &["seed", "stable/x86_64", "vmlinuz", "root.cbor"])).end();
    assert_eq!(published.code, 0, "{}", published.stderr);
    let mut serving = Process::start(&mut example(&bench, "serve", &["seed"]));
    let address = serving.line(|line| line.starts_with("/ip4/").then(|| line.to_owned()));

    let found = Process::start(&mut example(&bench, "discover", &[&address, "stable/x86_64", "root.cbor"])).end();
    assert_eq!(found.code, 0, "{}", found.stderr);
    let peer = address.rsplit('/').next().unwrap();
    assert!(found.stdout.contains("is version 1") && found.stdout.contains(peer), "{}", found.stdout);

    let arguments = [&address, "stable/x86_64", "root.cbor", "here", "out"];
    let fetched = Process::start(&mut example(&bench, "fetch", &arguments)).end();
    assert_eq!(fetched.code, 0, "{}", fetched.stderr);
    assert_same(&bench.path("vmlinuz"), &bench.path("out/vmlinuz"));
    serving.signal(Signal::INT);
    assert_eq!(serving.end().code, 0);
}
