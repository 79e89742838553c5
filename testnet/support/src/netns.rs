//! Runs a test in a new Linux network namespace, so that its multicast packets stay in the namespace and port 5353 is
//! free. To enter a namespace without privileges, the test program starts itself again under `unshare`.
//!
//! ```no_run
//! // In a test function with this name:
//! phase_test_support::netns::run("two_nodes_find_each_other", async { /* the test, inside */ });
//! ```
//!
//! The namespace contains only the interface `lo`, which is up and has the addresses 127.0.0.1 and [`ADDRESS`]. The
//! second address is needed because mDNS implementations, such as that of libp2p, ignore loopback addresses but not the
//! loopback interface. This address is on `lo`, because a dummy interface needs a kernel module. The kernel loads no
//! module from within a namespace.

use std::env;
use std::future::Future;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};

use rtnetlink::LinkUnspec;

/// The second address of the interface `lo` in the namespace. It is not a loopback address.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The prefix length of the network of [`ADDRESS`], which is 10.77.0.0/24. A test can add more addresses of this
/// network, because connections within it never leave the machine.
const PREFIX_LEN: u8 = 24;
/// The interface index of `lo`, which is the only interface of a new namespace.
const LOOPBACK_INDEX: u32 = 1;
/// An environment variable that is set if the test program runs inside the namespace.
const INSIDE: &str = "PHASE_INSIDE_NETNS";
/// An environment variable for machines that permit no namespaces. If it is 1, a test fails on such a machine.
/// Otherwise the test prints that it was skipped, and passes.
const REQUIRE: &str = "PHASE_REQUIRE_NETNS";

/// Runs `check` in a new namespace, on a multi-threaded tokio runtime.
///
/// `test` is the full name of the calling test, as `cargo test -- --list` prints it. Only that test is run again in the
/// namespace.
///
/// # Panics
/// If the check fails, if `test` is not the name of exactly one test, or if the caller runs inside another tokio
/// runtime. With `PHASE_REQUIRE_NETNS=1`, also if this machine permits no namespaces.
pub fn run(test: &str, check: impl Future<Output = ()>) {
    if env::var_os(INSIDE).is_some() {
        inside(check);
    } else if let Err(why) = check_permitted() {
        assert!(env::var_os(REQUIRE).is_none_or(|value| value != "1"), "{REQUIRE} is set, but {why}");
        // Write to standard error directly, because the test harness hides the output of `eprintln!` if the test
        // passes.
        drop(writeln!(io::stderr(), "SKIPPED {test}: {why}"));
    } else {
        run_in_namespace(test);
    }
}

/// Returns a command that runs its arguments in a new network namespace, as root within that namespace only.
fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--"]);
    command
}

fn check_permitted() -> Result<(), String> {
    let output = unshare().arg("true").stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("cannot run unshare: {error}; install util-linux"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(()).ok_or_else(|| format!("no network namespaces here: {}", errors.trim()))
}

fn run_in_namespace(test: &str) {
    let program = env::current_exe().expect("a running test program has a path");
    let arguments = ["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"];
    let output = unshare().arg(program).args(arguments).env(INSIDE, "1").stdin(Stdio::null()).output();
    let output = output.expect("unshare was run successfully before");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let report = format!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{test} failed in its network namespace:\n{report}");
    assert!(stdout.contains("test result: ok. 1 passed"), "{test} is not the name of exactly one test:\n{report}");
}

fn inside(check: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a test may start threads").block_on(async {
        set_up().await;
        check.await;
    });
}

async fn set_up() {
    let (connection, netlink, _) = rtnetlink::new_connection().expect("netlink works in every namespace");
    let connection = tokio::spawn(connection);
    let up = netlink.link().set(LinkUnspec::new_with_index(LOOPBACK_INDEX).up().build());
    up.execute().await.expect("root of a namespace may bring its interfaces up");
    let address = netlink.address().add(LOOPBACK_INDEX, IpAddr::V4(ADDRESS), PREFIX_LEN);
    address.execute().await.expect("root of a namespace may add addresses to its interfaces");
    connection.abort();
}
