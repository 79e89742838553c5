//! A test in a network of its own: a fresh Linux network namespace, entered by running the test program again under
//! `unshare`, without privileges. Multicast stays inside, and port 5353 is free.
//!
//! ```no_run
//! // In a test function of this very name:
//! phase_test_support::netns::run("two_nodes_find_each_other", async { /* the test, inside */ });
//! ```
//!
//! All there is inside is `lo`, up, with 127.0.0.1 and [`ADDRESS`]: libp2p's mDNS and others ignore loopback addresses
//! but not the interface. A dummy interface would need a kernel module, which is not loaded from within a namespace.

use std::env;
use std::future::Future;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};

use rtnetlink::LinkUnspec;

/// The address inside that is not a loopback address.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Its network: 10.77.0.0/24. Connections within it, also to other addresses that are added, never leave the machine.
const PREFIX_LEN: u8 = 24;
/// The only interface of a fresh namespace.
const LOOPBACK_INDEX: u32 = 1;
/// Set for the test program that runs inside.
const INSIDE: &str = "PHASE_INSIDE_NETNS";
/// If this is 1, a machine without namespaces fails the test; else it says so and passes.
const REQUIRE: &str = "PHASE_REQUIRE_NETNS";

/// Runs `check` in a namespace of its own, on a multi-threaded tokio runtime.
///
/// `test` is the calling test's full name as `cargo test -- --list` prints it: only that test runs again inside.
///
/// # Panics
/// If the check fails or `test` is not the name of one test; with `PHASE_REQUIRE_NETNS=1` also if this machine permits
/// no namespaces, or inside another tokio runtime.
pub fn run(test: &str, check: impl Future<Output = ()>) {
    if env::var_os(INSIDE).is_some() {
        inside(check);
    } else if let Err(why) = permitted() {
        assert!(env::var_os(REQUIRE).is_none_or(|value| value != "1"), "{REQUIRE} is set, but {why}");
        // Not by a macro: of a test that passes, the test program shows nothing that those print.
        drop(writeln!(io::stderr(), "SKIPPED {test}: {why}"));
    } else {
        again(test);
    }
}

/// What enters a namespace and runs the rest of the command line there, as the root of nothing else.
fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--"]);
    command
}

fn permitted() -> Result<(), String> {
    let output = unshare().arg("true").stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("unshare of util-linux cannot be run: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(()).ok_or_else(|| format!("no network namespaces here: {}", told.trim()))
}

fn again(test: &str) {
    let program = env::current_exe().expect("a running test program has a path");
    let arguments = ["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"];
    let output = unshare().arg(program).args(arguments).env(INSIDE, "1").stdin(Stdio::null()).output();
    let output = output.expect("unshare has just been run");
    let told = String::from_utf8_lossy(&output.stdout);
    let report = format!("{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{test} failed inside:\n{report}");
    assert!(told.contains("test result: ok. 1 passed"), "{test} is not the name of one test:\n{report}");
}

fn inside(check: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a test may start threads").block_on(async {
        set_up().await;
        check.await;
    });
}

async fn set_up() {
    let (connection, netlink, _) = rtnetlink::new_connection().expect("there is netlink in every namespace");
    let connection = tokio::spawn(connection);
    let up = netlink.link().set(LinkUnspec::new_with_index(LOOPBACK_INDEX).up().build());
    up.execute().await.expect("the root of a namespace may bring its interfaces up");
    let address = netlink.address().add(LOOPBACK_INDEX, IpAddr::V4(ADDRESS), PREFIX_LEN);
    address.execute().await.expect("the root of a namespace may give addresses to its interfaces");
    connection.abort();
}
