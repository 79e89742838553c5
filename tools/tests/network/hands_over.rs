//! What is handed over is what was published, wherever it goes: a folder, a file, a link to a folder, standard output, a
//! block device.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use super::sandbox::names;
use super::test_network::{NAME, Provider, TestNetwork, assert_same, json, run};

const SIZE: usize = 6 << 20;

/// A network with one provider, which has a release with a kernel and an initramfs.
fn network() -> (TestNetwork, Provider) {
    let network = TestNetwork::new();
    network.sandbox.file("vmlinuz", SIZE);
    network.sandbox.file("initrd", SIZE / 2);
    network.publish("seed", "--artifact kernel=vmlinuz --artifact initramfs=initrd");
    let provider = network.provide("seed");
    (network, provider)
}

/// Returns a command that fetches without a store. `words` has further options.
fn ephemeral(network: &TestNetwork, words: &str) -> Command {
    network.phase(&format!("fetch {NAME} --root root.cbor --ephemeral {words}"))
}

/// Returns the names of the hidden files and folders in a folder.
fn hidden(network: &TestNetwork, folder: &str) -> Vec<String> {
    names(&network.sandbox.path(folder)).into_iter().filter(|name| name.starts_with('.')).collect()
}

#[test]
fn a_damaged_artifact_is_named_set_aside_and_fetched_again_in_the_same_run() {
    let (network, _provider) = network();
    let first = json(network.fetch("store"));
    let cid = first["artifacts"][0]["cid"].as_str().unwrap();
    let stored = network.sandbox.path(&format!("store/artifacts/{cid}"));
    let modified = fs::metadata(&stored).unwrap().modified().unwrap();
    let mut content = fs::read(&stored).unwrap();
    content[SIZE / 2] ^= 1;
    fs::set_permissions(&stored, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&stored, content).unwrap();
    fs::File::options().write(true).open(&stored).unwrap().set_modified(modified).unwrap();

    let again = run(network.fetch("store"));
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(again.stderr.contains(stored.to_str().unwrap()), "{}", again.stderr);
    assert_same(&network.fetched("store", "vmlinuz"), &network.sandbox.path("vmlinuz"));
    assert_same(&network.fetched("store", "initrd"), &network.sandbox.path("initrd"));
    assert_eq!(names(&network.sandbox.path("store/damaged")), [format!("{cid}.1")]);
}

#[test]
fn who_writes_to_an_exported_file_does_not_damage_the_store() {
    let (network, _provider) = network();
    json(network.fetch("store"));
    fs::write(network.fetched("store", "vmlinuz"), "changed").unwrap();
    let again = json(network.fetch("store"));
    assert_eq!(again["bytes"], again["resumed_bytes"], "nothing had to be fetched again: {again:#}");
    assert_same(&network.fetched("store", "vmlinuz"), &network.sandbox.path("vmlinuz"));

    // Links have to be asked for, and are read-only.
    let mut linked = network.fetch("store");
    json({
        linked.arg("--link");
        linked
    });
    let meta = fs::metadata(network.fetched("store", "vmlinuz")).unwrap();
    assert_eq!((meta.nlink(), meta.mode() & 0o222), (2, 0));
}

#[test]
fn a_fetch_without_a_store_leaves_its_output_and_nothing_else() {
    let (network, _provider) = network();
    let before = names(&network.sandbox.path(""));
    json(ephemeral(&network, "--output out --json"));
    assert_same(&network.sandbox.path("out/vmlinuz"), &network.sandbox.path("vmlinuz"));
    assert_same(&network.sandbox.path("out/initrd"), &network.sandbox.path("initrd"));
    let mut after = names(&network.sandbox.path(""));
    after.retain(|name| name != "out");
    assert_eq!((after, names(&network.sandbox.path("out"))), (before, vec!["initrd".to_owned(), "vmlinuz".to_owned()]));
}

#[test]
fn one_artifact_goes_to_a_file_that_is_replaced_at_the_end() {
    let (network, _provider) = network();
    json(ephemeral(&network, "--only kernel --output-file new/kernel.img --json"));
    assert_same(&network.sandbox.path("new/kernel.img"), &network.sandbox.path("vmlinuz"));
    // An existing file is a file for --output, too.
    let done = json(ephemeral(&network, "--only initramfs --output new/kernel.img --json"));
    assert_same(&network.sandbox.path("new/kernel.img"), &network.sandbox.path("initrd"));
    assert_eq!(done["artifacts"][0]["path"], "new/kernel.img");
    assert_eq!(names(&network.sandbox.path("new")), ["kernel.img"]);
    let both = run(ephemeral(&network, "--output new/kernel.img"));
    assert!(both.code == 2 && both.stderr.contains("--only"), "{} {}", both.code, both.stderr);
    assert_same(&network.sandbox.path("new/kernel.img"), &network.sandbox.path("initrd"));
}

#[test]
fn standard_output_gets_the_bytes_and_standard_error_everything_else() {
    let (network, _provider) = network();
    let expected = fs::read(network.sandbox.path("vmlinuz")).unwrap();
    let with_store = format!("fetch {NAME} --root root.cbor --store store --only kernel --output -");
    for mut command in [
        ephemeral(&network, "--only kernel --output -"),
        ephemeral(&network, "--only kernel --output - --json"),
        network.phase(&with_store),
    ] {
        let done = command.output().unwrap();
        let remarks = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{remarks}");
        assert!(done.stdout == expected, "{} of {} bytes", done.stdout.len(), expected.len());
        assert!(remarks.contains("stable/x86_64"), "{remarks}");
    }
    let both = run(ephemeral(&network, "--output -"));
    assert!(both.code == 2 && both.stdout.is_empty(), "{} {}", both.code, both.stderr);
}

#[test]
fn a_link_to_a_folder_is_switched_from_one_whole_release_to_the_next() {
    let (network, _provider) = network();
    symlink("none", network.sandbox.path("current")).unwrap();
    json(ephemeral(&network, "--output current --json"));
    let first = fs::read_link(network.sandbox.path("current")).unwrap();
    network.sandbox.file("only", 1000);
    network.publish("seed", "--artifact kernel:only=only");
    let done = json(ephemeral(&network, "--output current --json"));
    assert_eq!(done["version"], 2);
    assert_eq!(names(&network.sandbox.path("current")), ["only"]);
    assert_eq!(names(&network.sandbox.path(first.to_str().unwrap())), ["initrd", "vmlinuz"]);
    assert_eq!(hidden(&network, ""), [""; 0]);
}

#[test]
fn a_target_that_cannot_take_the_release_is_an_error_before_the_download() {
    let (network, _provider) = network();
    fs::create_dir_all(network.sandbox.path("out/vmlinuz")).unwrap();
    fs::write(network.sandbox.path("file"), "file").unwrap();
    for (target, code, text) in [
        ("/dev/null", 2, "character device"),
        ("/dev/disk/by-partlabel/none", 2, "device that does not exist"),
        ("out", 3, "vmlinuz is a folder"),
        ("file/out", 3, "file/out"),
        ("/proc/out", 3, "/proc"),
    ] {
        let run = run(network.phase(&format!("fetch {NAME} --root root.cbor --store store --output {target}")));
        assert!(run.code == code && run.stderr.contains(text), "{target}: {} {}", run.code, run.stderr);
        let artifacts = network.sandbox.path("store/artifacts");
        assert!(!artifacts.exists() || names(&artifacts).is_empty(), "{target}: something was downloaded");
    }
    assert_eq!(fs::read(network.sandbox.path("file")).unwrap(), b"file");
    assert_eq!(names(&network.sandbox.path("out")), ["vmlinuz"]);
}

/// A loop device, which is detached when dropped.
struct Loop(String);

impl Loop {
    fn over(file: &Path) -> Option<Self> {
        let made = Command::new("losetup").args(["--find", "--show"]).arg(file).output().ok()?;
        made.status.success().then(|| Self(String::from_utf8_lossy(&made.stdout).trim().to_owned()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

fn is_done(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|done| done.status.success())
}

#[test]
fn a_file_system_image_goes_to_a_block_device_that_nothing_else_holds_and_can_be_mounted() {
    let (network, _provider) = network();
    let at = |name: &str| network.sandbox.path(name).to_str().unwrap().to_owned();
    fs::create_dir(at("content")).unwrap();
    fs::write(at("content/hello"), "hello").unwrap();
    fs::File::create(at("image")).unwrap().set_len(16 << 20).unwrap();
    fs::File::create(at("disk")).unwrap().set_len(24 << 20).unwrap();
    fs::create_dir(at("mounted")).unwrap();
    let made = is_done("mkfs.ext4", &["-q", "-d", &at("content"), &at("image")]);
    let Some(device) = Loop::over(&network.sandbox.path("disk")).filter(|_| made) else {
        println!("skipped: this machine has no loop device or no mkfs.ext4 for this user");
        return;
    };
    network.publish("seed", "--artifact rootfs=image");
    let to_device = || ephemeral(&network, &format!("--output {} --json", device.0));

    // Held by another file system, which is mounted.
    assert!(is_done("mkfs.ext4", &["-q", &device.0]));
    if !is_done("mount", &[&device.0, &at("mounted")]) {
        println!("skipped: this user may not mount");
        return;
    }
    let held = run(to_device());
    assert!(is_done("umount", &[&at("mounted")]));
    assert!(held.code == 3 && held.stderr.contains("mounted at"), "{} {}", held.code, held.stderr);

    let done = json(to_device());
    assert_eq!(done["artifacts"][0]["path"], device.0.as_str());
    let written = fs::read(&device.0).unwrap();
    assert!(written[..16 << 20] == fs::read(at("image")).unwrap());
    assert!(is_done("mount", &["-o", "ro", &device.0, &at("mounted")]));
    let hello = fs::read(network.sandbox.path("mounted/hello"));
    assert!(is_done("umount", &[&at("mounted")]));
    assert_eq!(hello.unwrap(), b"hello");

    // What the device has already is not fetched again.
    let again = json(to_device());
    assert_eq!(again["bytes"], again["resumed_bytes"].as_u64().unwrap() + again["repeated_bytes"].as_u64().unwrap());
}
