//! Tests that `phase-provider` names a wrong argument, store or file in its error message, exits with a documented
//! code, and does not start. With correct arguments, it prints the documented lines.

#![expect(clippy::unwrap_used, reason = "a test helper that fails should panic")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

fn command(folder: &Path, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phase-provider"));
    command.arg("serve").args(words.split_whitespace()).current_dir(folder).env_clear().env("PHASE_NO_MDNS", "1");
    command
}

/// Runs `phase-provider serve` with these arguments until it exits, and returns its output. The arguments must not
/// start a provider, because a provider would never exit.
fn serve(folder: &Path, words: &str) -> Output {
    command(folder, words).output().unwrap()
}

/// Runs a provider on loopback until it has printed `count` lines, calls `then` with them, and kills the provider.
fn first_lines<T>(folder: &Path, words: &str, count: usize, then: impl FnOnce(&[String]) -> T) -> T {
    let mut command = command(folder, &format!("--listen /ip4/127.0.0.1/tcp/0 {words}"));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(count);
    let lines: Vec<_> = lines.map_while(Result::ok).collect();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| then(&lines)));
    child.kill().unwrap();
    child.wait().unwrap();
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Returns whether the provider with this peer id answers `/health` at this URL.
fn is_healthy(url: &str, peer: &str) -> bool {
    let mut connection = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    connection.write_all(b"GET /health HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer.starts_with("HTTP/1.0 200 OK") && answer.ends_with(&format!("\r\n\r\nok {peer}\n"))
}

#[track_caller]
fn fails(folder: &Path, words: &str, code: i32, parts: &[&str]) {
    let output = serve(folder, words);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words}: {stderr}");
    assert!(output.stdout.is_empty(), "{words}: the provider has started");
    for part in parts {
        assert!(stderr.contains(part), "{words}: {part:?} is not in {stderr:?}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_wrong_command_line_exits_with_code_2() {
    let folder = folder();
    fails(folder.path(), "", 2, &["--store"]);
    fails(folder.path(), "--store s --listen localhost:4001", 2, &["localhost:4001"]);
    fails(folder.path(), "--store s --bootstrap localhost:4001", 2, &["localhost:4001", "multiaddr"]);
    fails(folder.path(), "--store s --announce-interval soon", 2, &["\"soon\" is not a time"]);
    fails(folder.path(), "--store s --announce-interval 0s", 2, &["longer than zero"]);
    fails(folder.path(), "--store s --http 9464", 2, &["9464", "--http", "127.0.0.1:9464"]);
    fails(folder.path(), "--store s --http http://127.0.0.1:9464/", 2, &["http://127.0.0.1:9464/"]);
    for ttl in ["59s", "48h 1s", "forever"] {
        let mut line = command(folder.path(), "--store s --record-ttl");
        let output = line.arg(ttl).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{ttl}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(ttl), "{ttl}");
    }
    assert!(!folder.path().join("s").exists(), "a wrong command line created a store");
}

#[test]
fn the_error_names_an_unreadable_list_of_bootstrap_peers() {
    let folder = folder();
    fails(folder.path(), "--store s --bootstrap-file missing.toml", 3, &["missing.toml"]);
    std::fs::write(folder.path().join("bad.toml"), "bootstrap = 1").unwrap();
    fails(folder.path(), "--store s --bootstrap-file bad.toml", 3, &["bad.toml"]);
}

#[test]
fn the_error_names_a_trust_root_that_is_missing_or_malformed() {
    let folder = folder();
    fails(folder.path(), "--store s --root missing.cbor", 3, &["missing.cbor"]);
    std::fs::write(folder.path().join("bad.cbor"), "bad").unwrap();
    fails(folder.path(), "--store s --root bad.cbor --no-dht", 3, &["bad.cbor"]);
}

#[test]
fn the_error_names_a_port_in_use() {
    let folder = folder();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let words = format!("--store s --listen /ip4/127.0.0.1/tcp/0 --http {address}");
    fails(folder.path(), &words, 5, &[&format!("http://{address}"), "in use", "choose another address"]);
}

#[test]
fn a_started_provider_prints_its_addresses_as_lines_or_json() {
    let folder = folder();
    let words = "--store s --http 127.0.0.1:0 --record-ttl 48h";
    let peer = first_lines(folder.path(), words, 3, |lines| {
        let peer = lines[0].strip_prefix("serving ").unwrap();
        assert!(lines[1].starts_with("listening /ip4/127.0.0.1/tcp/"), "{lines:?}");
        assert!(is_healthy(lines[2].strip_prefix("http ").unwrap(), peer));
        peer.to_owned()
    });
    first_lines(folder.path(), &format!("{words} --json"), 1, |lines| {
        let document: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(document["peer_id"], *peer);
        assert!(is_healthy(document["http"].as_str().unwrap(), &peer));
    });
    first_lines(folder.path(), "--store s --json", 1, |lines| {
        let document: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(document["http"], serde_json::Value::Null);
    });
}

#[test]
fn the_error_names_an_unusable_store() {
    let folder = folder();
    let make = |name: &str, format: &str| {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("format"), format).unwrap();
    };
    std::fs::write(folder.path().join("file"), "").unwrap();
    fails(folder.path(), "--store file", 7, &["file"]);
    fails(folder.path(), "--store .", 7, &["not a store"]);
    make("newer", "phase-store 2\n");
    fails(folder.path(), "--store newer", 7, &["newer", "format 2", "use a newer version"]);
    make("strange", "something else\n");
    fails(folder.path(), "--store strange", 7, &["strange"]);
}

#[test]
fn errors_are_json_with_the_json_option() {
    let folder = folder();
    fails(folder.path(), "--store . --json --bootstrap-file missing.toml", 3, &["{\"error\":", "\"exit_code\":3"]);
}

#[test]
fn help_lists_the_exit_codes() {
    let output = serve(folder().path(), "--help");
    let help = String::from_utf8(output.stdout).unwrap();
    for line in phase_cli::EXIT_CODES.lines() {
        assert!(help.contains(line.trim()), "{line:?} is missing");
    }
}
