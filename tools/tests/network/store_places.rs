//! Where a store may lie, and what happens to files that were published by reference, through the public commands.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use super::process::Process;
use super::sandbox::names;
use super::test_network::{NAME, Provider, TestNetwork, assert_same, cid, document, fails, json, run};

const LEN: usize = 8 << 20;
/// A user who is neither root nor the user of these tests.
const STRANGER: u32 = 54_321;

/// Changes one byte of a file, and restores its modification time.
fn flip(path: &Path) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, LEN as u64 / 2).unwrap();
    file.write_all_at(&[byte[0] ^ 1], LEN as u64 / 2).unwrap();
    file.set_modified(modified).unwrap();
}

fn skip(test: &str, why: &str) {
    // The test harness hides the output of `eprintln!` if the test passes.
    drop(writeln!(std::io::stderr(), "SKIPPED {test}: {why}"));
}

fn is_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skip(test, "only root can run a program as another user");
    }
    is_root
}

#[test]
fn a_changed_reference_is_named_and_withdrawn_and_is_served_again_when_it_is_back() {
    let network = TestNetwork::new();
    let image = network.sandbox.file("image", LEN);
    let release = network.publish("store", "--reference --artifact kernel=image");
    let artifact = cid(&release, "image").to_owned();
    let mut provider = network.provide("store");
    flip(&image);
    let line = provider.process.line(|line| line.strip_prefix("withdrawn ").map(str::to_owned));
    assert!(line.starts_with(&artifact) && line.contains(image.to_str().unwrap()), "{line}");
    flip(&image);
    let line = provider.process.line(|line| line.strip_prefix("restored ").map(str::to_owned));
    assert_eq!(line, format!("{artifact} {}", image.canonicalize().unwrap().display()));
    provider.announced();
    json(network.fetch("client"));
    assert_same(&image, &network.fetched("client", "image"));
    let log = provider.process.stop().stderr;
    assert!(log.contains(image.to_str().unwrap()), "{log}");
}

#[test]
fn the_events_of_a_changed_file_are_json_with_the_json_option() {
    let network = TestNetwork::new();
    let image = network.sandbox.file("image", LEN);
    let release = network.publish("store", "--reference --artifact kernel=image");
    let mut command = network.provider("store");
    command.arg("--json");
    let mut process = Process::start(&mut command);
    let event = |process: &mut Process, key: &str| {
        process.line(|line| serde_json::from_str::<serde_json::Value>(line).unwrap().get(key).cloned())
    };
    event(&mut process, "announced");
    for (key, change) in [("withdrawn", flip as fn(&Path)), ("restored", flip)] {
        change(&image);
        let event = event(&mut process, key);
        assert_eq!(event["artifact"], cid(&release, "image"));
        assert_eq!(event["file"], image.canonicalize().unwrap().to_str().unwrap());
    }
}

#[test]
fn a_client_goes_on_at_once_with_another_provider_when_a_reference_has_changed() {
    let network = TestNetwork::new();
    let image = network.sandbox.file("image", LEN);
    network.publish("one", "--reference --artifact kernel=image");
    fs::copy(&image, network.sandbox.path("original")).unwrap();
    let one = network.provide("one");
    json(network.fetch("two"));
    let two = network.provide("two");
    flip(&image);
    // The first provider may not have noticed the change yet. It hashes each chunk before it sends it.
    let fetched = json(network.fetch("client"));
    assert_same(&network.sandbox.path("original"), &network.fetched("client", "image"));
    assert!(fetched["seconds"].as_f64().is_none_or(|seconds| seconds < 20.0), "{fetched}");
    drop((one, two));
}

#[test]
fn a_read_only_store_is_served_by_two_providers_with_state_folders() {
    let network = TestNetwork::new();
    network.sandbox.file("image", LEN);
    network.publish("store", "--artifact kernel=image");
    let media = network.sandbox.path("media");
    let Some(mount) = ReadOnly::mount(&network.sandbox.path("store"), &media) else {
        return skip("a_read_only_store_is_served_by_two_providers_with_state_folders", "only root can mount");
    };
    assert!(fs::write(media.join("new"), "").is_err());
    // Without a state folder, the message names the option.
    let refused = run(network.provider("media"));
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("--state") && refused.stderr.contains("media"), "{}", refused.stderr);
    let mut providers = Vec::new();
    for state in ["one", "other"] {
        let mut command = network.provider("media");
        command.args(["--state", state]);
        let mut provider = Provider::start(command);
        provider.announced();
        providers.push(provider);
    }
    assert_ne!(providers[0].peer, providers[1].peer);
    json(network.fetch("client"));
    assert_same(&network.sandbox.path("image"), &network.fetched("client", "image"));
    for file in ["identity.key", "provider.lock", "store.lock"] {
        assert!(names(&network.sandbox.path("one")).contains(&file.to_owned()), "{file}");
    }
    // Commands that only read work too.
    network.sandbox.ok("inspect root.cbor --store media");
    json(network.phase(&format!("resolve {NAME} --root root.cbor --store media --json")));
    drop((providers, mount));
}

/// A read-only bind mount. It is unmounted when dropped.
struct ReadOnly<'a>(&'a Path);

impl<'a> ReadOnly<'a> {
    fn mount(store: &Path, at: &'a Path) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let is_mounted = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        let bound = is_mounted(Command::new("mount").arg("--bind").args([store, at]));
        let mount = bound.then_some(Self(at))?;
        is_mounted(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(at)).then_some(mount)
    }
}

impl Drop for ReadOnly<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_store_that_is_shared_with_a_group_is_served_by_another_user_of_the_group() {
    const TEST: &str = "a_store_that_is_shared_with_a_group_is_served_by_another_user_of_the_group";
    if !is_root(TEST) {
        return;
    }
    let network = TestNetwork::new();
    network.sandbox.file("image", LEN);
    let store = network.sandbox.path("store");
    fs::create_dir(&store).unwrap();
    std::os::unix::fs::chown(&store, None, Some(STRANGER)).unwrap();
    fs::set_permissions(&store, fs::Permissions::from_mode(0o2770)).unwrap();
    for folder in [network.sandbox.path(""), network.sandbox.path("state")] {
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::os::unix::fs::chown(network.sandbox.path("state"), Some(STRANGER), None).unwrap();
    // The publisher's umask permits nothing to the group, and has no effect in the shared store.
    let mut publish = Command::new("/bin/sh");
    publish.args(["-c", "umask 077 && exec \"$@\"", "sh"]);
    let words =
        "publish --store store --root root.cbor --key a.key --channel stable --arch x86_64 --artifact kernel=image";
    let phase = network.sandbox.command(words);
    publish.arg(phase.get_program()).args(phase.get_args()).current_dir(network.sandbox.path(""));
    assert!(publish.output().unwrap().status.success());

    let mut command = network.provider("store");
    command.args(["--state", "state"]).uid(STRANGER).gid(STRANGER);
    if !can_run(&command) {
        return skip(TEST, "another user cannot run the program in this folder");
    }
    let mut provider = Provider::start(command);
    provider.announced();
    json(network.fetch("client"));
    assert_same(&network.sandbox.path("image"), &network.fetched("client", "image"));
    assert!(!names(&store).contains(&"provider.lock".to_owned()));
}

#[test]
fn a_store_that_another_user_cannot_read_is_refused_with_its_owner_mode_and_the_next_step() {
    const TEST: &str = "a_store_that_another_user_cannot_read_is_refused_with_its_owner_mode_and_the_next_step";
    if !is_root(TEST) {
        return;
    }
    let network = TestNetwork::new();
    network.sandbox.file("image", LEN);
    network.publish("store", "--artifact kernel=image");
    let store = network.sandbox.path("store");
    fs::set_permissions(network.sandbox.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    for (path, mode) in [(store.clone(), 0o700), (store.join("format"), 0o600)] {
        let before = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let mut command = network.provider("store");
        command.args(["--state", "state", "--json"]).uid(STRANGER).gid(STRANGER);
        if !can_run(&command) {
            return skip(TEST, "another user cannot run the program in this folder");
        }
        let (path_text, mode_text) = (path.to_str().unwrap(), format!("{mode:04o}"));
        fails(command, 7, &["format", path_text, "root", &mode_text, &format!("user {STRANGER}"), "group"]);
        fs::set_permissions(&path, before).unwrap();
    }
}

/// Returns whether another user can run the program of a command.
fn can_run(command: &Command) -> bool {
    Command::new(command.get_program())
        .arg("--version")
        .uid(STRANGER)
        .gid(STRANGER)
        .output()
        .is_ok_and(|output| output.status.success())
}

#[test]
fn a_moved_store_is_served_after_it_was_hashed_once() {
    let network = TestNetwork::new();
    network.sandbox.file("image", LEN);
    let release = network.publish("store", "--artifact kernel=image");
    let copied = Command::new("cp")
        .arg("-a")
        .args([network.sandbox.path("store"), network.sandbox.path("moved")])
        .status()
        .unwrap();
    assert!(copied.success());
    fs::remove_dir_all(network.sandbox.path("store")).unwrap();
    let seal = network.sandbox.path(&format!("moved/artifacts/{}.seal", cid(&release, "image")));
    let before = fs::read(&seal).unwrap();
    let _provider = network.provide("moved");
    assert_ne!(fs::read(&seal).unwrap(), before);
    document(Process::start(&mut network.fetch("client")));
    assert_same(&network.sandbox.path("image"), &network.fetched("client", "image"));
}
