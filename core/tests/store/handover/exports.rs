use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use phase_core::handover::{HandoverError, Mode, Target, export};
use phase_core::manifest::ArtifactEntry;
use phase_core::{FileStore, Store, StoreError};

use super::{entry, files};
use crate::data::{bytes, fetch, index_of};

struct Sandbox {
    folder: tempfile::TempDir,
    store: FileStore,
}

impl Sandbox {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path().join("store")).unwrap();
        Self { folder, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn entry(&self, name: &str, seed: u64) -> ArtifactEntry {
        let stored = self.store.artifact(&index_of(&bytes(seed, 50_000)).0).unwrap();
        entry(name, &*stored.unwrap_or_else(|| fetch(&self.store, &bytes(seed, 50_000))))
    }

    fn export(&self, entries: &[ArtifactEntry], to: &str) -> Result<(), HandoverError> {
        export(&self.store, entries, &Target::Folder(self.path(to)), Mode::Copy)
    }

    /// Returns the names beside the output that begin with a dot, which are files that a hand-over has left.
    fn left(&self, folder: &str) -> Vec<String> {
        let names = fs::read_dir(self.path(folder)).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with('.')).collect()
    }
}

/// Changes one byte of a file and restores its modification time.
fn flip(path: &Path) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let mut content = fs::read(path).unwrap();
    content[30_000] ^= 1;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, content).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

#[test]
fn a_damaged_artifact_is_named_and_nothing_of_it_becomes_visible() {
    let sandbox = Sandbox::new();
    let entries = [sandbox.entry("good", 1), sandbox.entry("sub/bad", 2)];
    let artifact = sandbox.store.artifact(&entries[1].cid).unwrap().unwrap();
    flip(&artifact.path().unwrap());
    let error = sandbox.export(&entries, "out").unwrap_err();
    assert!(
        matches!(&error, HandoverError::Damaged { filename, cid, .. } if filename == "sub/bad" && *cid == artifact.cid())
    );
    assert!(error.to_string().contains(artifact.path().unwrap().to_str().unwrap()), "{error}");
    assert!(!sandbox.path("out").exists());
    assert_eq!(sandbox.left(""), [""; 0]);

    // Set aside, fetched again and exported again.
    assert!(sandbox.store.set_aside(&artifact.cid()).unwrap().is_some());
    fetch(&sandbox.store, &bytes(2, 50_000));
    sandbox.export(&entries, "out").unwrap();
    assert_eq!(files(&sandbox.path("out"))["sub/bad"], bytes(2, 50_000));
}

#[test]
fn who_writes_to_an_exported_file_does_not_change_the_store() {
    let sandbox = Sandbox::new();
    let entries = [sandbox.entry("kernel", 1)];
    sandbox.export(&entries, "out").unwrap();
    let path = sandbox.path("out/kernel");
    assert_eq!(fs::metadata(&path).unwrap().nlink(), 1);
    fs::write(&path, "changed").unwrap();
    sandbox.export(&entries, "again").unwrap();
    assert_eq!(files(&sandbox.path("again"))["kernel"], bytes(1, 50_000));
}

#[test]
fn a_link_is_made_only_on_request_and_is_read_only() {
    let sandbox = Sandbox::new();
    let entries = [sandbox.entry("kernel", 1), sandbox.entry("initrd", 2)];
    let target = Target::Folder(sandbox.path("out"));
    export(&sandbox.store, &entries, &target, Mode::Link).unwrap();
    for entry in &entries {
        let linked = fs::metadata(sandbox.path("out").join(entry.filename.as_path())).unwrap();
        let stored = fs::metadata(sandbox.store.artifact(&entry.cid).unwrap().unwrap().path().unwrap()).unwrap();
        assert_eq!((linked.ino(), linked.mode() & 0o222), (stored.ino(), 0));
    }
    // A damaged artifact is not linked either.
    flip(&sandbox.store.artifact(&entries[0].cid).unwrap().unwrap().path().unwrap());
    let error = export(&sandbox.store, &entries, &Target::Folder(sandbox.path("other")), Mode::Link).unwrap_err();
    assert!(matches!(error, HandoverError::Damaged { .. }), "{error}");
    assert!(!sandbox.path("other").exists());
}

#[test]
fn an_existing_folder_is_exchanged_as_a_whole_and_keeps_its_other_files() {
    let sandbox = Sandbox::new();
    let out = sandbox.path("out");
    fs::create_dir_all(out.join("own/deep")).unwrap();
    fs::write(out.join("own/deep/file"), "own").unwrap();
    fs::write(out.join("kernel"), "old").unwrap();
    symlink("own", out.join("link")).unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o750)).unwrap();
    // Root can give the folder to another group. For other users, the group stays as it is.
    let _ = std::os::unix::fs::chown(&out, None, Some(4242));
    let (before, group) = (fs::metadata(&out).unwrap().ino(), fs::metadata(&out).unwrap().gid());
    sandbox.export(&[sandbox.entry("kernel", 1), sandbox.entry("own/new", 2)], "out").unwrap();
    assert_ne!(fs::metadata(&out).unwrap().ino(), before, "the folder was not exchanged");
    let meta = fs::metadata(&out).unwrap();
    assert_eq!((meta.mode() & 0o777, meta.gid()), (0o750, group));
    assert_eq!(fs::read(out.join("kernel")).unwrap(), bytes(1, 50_000));
    assert_eq!(fs::read(out.join("own/new")).unwrap(), bytes(2, 50_000));
    assert_eq!(fs::read(out.join("own/deep/file")).unwrap(), b"own");
    assert_eq!(fs::read_link(out.join("link")).unwrap(), Path::new("own"));
    assert_eq!((sandbox.left(""), sandbox.left("out")), (Vec::new(), Vec::new()));
}

#[test]
fn a_symbolic_link_is_switched_to_a_new_folder_with_exactly_the_release() {
    let sandbox = Sandbox::new();
    symlink("nothing-yet", sandbox.path("current")).unwrap();
    let mut folders = Vec::new();
    for seed in 1..=4 {
        sandbox.export(&[sandbox.entry(&format!("kernel-{seed}"), seed)], "current").unwrap();
        let found = files(&sandbox.path("current"));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [(format!("kernel-{seed}"), bytes(seed, 50_000))]);
        folders.push(fs::read_link(sandbox.path("current")).unwrap());
    }
    // Programs may still read the previous folder. Those before it are removed.
    let exists: Vec<_> = folders.iter().map(|folder| sandbox.folder.path().join(folder).exists()).collect();
    assert_eq!(exists, [false, false, true, true]);
    assert_eq!(sandbox.left(""), [""; 0]);
}

#[test]
fn nothing_is_written_through_a_symbolic_link_in_the_folder() {
    let sandbox = Sandbox::new();
    let outside = sandbox.path("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir(sandbox.path("out")).unwrap();
    symlink(&outside, sandbox.path("out/sub")).unwrap();
    let error = sandbox.export(&[sandbox.entry("sub/file", 1)], "out").unwrap_err();
    assert!(matches!(&error, HandoverError::InTheWay { path, .. } if *path == sandbox.path("out/sub")), "{error}");
    assert_eq!(files(&outside).len(), 0);

    // A file that is a link is replaced, and the file that it leads to is left alone.
    fs::write(outside.join("victim"), "victim").unwrap();
    symlink(outside.join("victim"), sandbox.path("out/file")).unwrap();
    sandbox.export(&[sandbox.entry("file", 1)], "out").unwrap();
    assert_eq!(fs::read(outside.join("victim")).unwrap(), b"victim");
    assert_eq!(fs::read(sandbox.path("out/file")).unwrap(), bytes(1, 50_000));
}

#[test]
fn the_longest_permitted_names_are_exported() {
    let sandbox = Sandbox::new();
    let names = ["a".repeat(255), "€".repeat(85), format!("{}/{}", "b".repeat(255), "c".repeat(255))];
    let entries: Vec<_> = names.iter().map(|name| sandbox.entry(name, 1)).collect();
    sandbox.export(&entries, "out").unwrap();
    sandbox.export(&entries, "out").unwrap();
    let found = files(&sandbox.path("out"));
    assert_eq!(found.len(), names.len());
    assert!(names.iter().all(|name| found[name] == bytes(1, 50_000)));
}

#[test]
fn a_folder_or_file_in_the_way_is_an_error_before_anything_is_overwritten() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("out/kernel")).unwrap();
    fs::write(sandbox.path("out/sub"), "file").unwrap();
    fs::write(sandbox.path("file"), "file").unwrap();
    let a = sandbox.entry("a", 1);
    for (entry, to) in [(sandbox.entry("kernel", 2), "out"), (sandbox.entry("sub/x", 2), "out"), (a.clone(), "file")] {
        let error = sandbox.export(&[a.clone(), entry], to).unwrap_err();
        assert!(matches!(error, HandoverError::InTheWay { .. }), "{error}");
    }
    assert!(!sandbox.path("out/a").exists());
    assert_eq!(fs::read(sandbox.path("file")).unwrap(), b"file");
}

#[test]
fn one_artifact_is_written_to_a_file_which_is_replaced_at_the_end() {
    let sandbox = Sandbox::new();
    let (path, entries) = (sandbox.path("x/kernel.img"), [sandbox.entry("kernel", 1), sandbox.entry("initrd", 2)]);
    let to_file = |entries: &[ArtifactEntry]| export(&sandbox.store, entries, &Target::File(path.clone()), Mode::Copy);
    assert!(matches!(to_file(&entries), Err(HandoverError::NotOne { count: 2, .. })));
    to_file(&entries[..1]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes(1, 50_000));
    to_file(&entries[1..]).unwrap();
    assert_eq!(
        files(&sandbox.path("x")).into_iter().collect::<Vec<_>>(),
        [("kernel.img".to_owned(), bytes(2, 50_000))]
    );
}

#[test]
fn an_artifact_that_is_missing_is_named() {
    let sandbox = Sandbox::new();
    let entry = sandbox.entry("kernel", 1);
    fs::remove_file(sandbox.store.artifact(&entry.cid).unwrap().unwrap().path().unwrap()).unwrap();
    let error = sandbox.export(&[entry], "out").unwrap_err();
    assert!(matches!(&error, HandoverError::Missing { filename } if filename == "kernel"), "{error}");
}

#[test]
fn what_a_crashed_hand_over_left_is_removed_and_that_of_a_running_one_is_not() {
    let sandbox = Sandbox::new();
    let entries = [sandbox.entry("kernel", 1)];
    fs::create_dir_all(sandbox.path(".phase-0123abcd/new")).unwrap();
    fs::write(sandbox.path(".phase-0123abcd/lock"), "out\n").unwrap();
    fs::write(sandbox.path(".phase-0123abcd/new/kernel"), "half").unwrap();
    fs::create_dir_all(sandbox.path(".phase-other")).unwrap();
    let running =
        phase_core::handover::Output::prepare(&Target::Folder(sandbox.path("slow")), &entries, false).unwrap();
    sandbox.export(&entries, "out").unwrap();
    let left = sandbox.left("");
    assert!(!left.contains(&".phase-0123abcd".to_owned()) && left.contains(&".phase-other".to_owned()), "{left:?}");
    running.export(&sandbox.store, Mode::Copy).unwrap();
    running.commit().unwrap();
    drop(running);
    assert_eq!(files(&sandbox.path("slow"))["kernel"], bytes(1, 50_000));
    assert_eq!(sandbox.left(""), [".phase-other"]);
}

#[test]
fn holes_stay_holes() {
    let sandbox = Sandbox::new();
    let content = [bytes(1, 100_000), vec![0; 8 << 20], bytes(2, 100_000)].concat();
    sandbox.export(&[entry("image", &*fetch(&sandbox.store, &content))], "out").unwrap();
    let path = sandbox.path("out/image");
    assert!(fs::read(&path).unwrap() == content);
    assert!(fs::metadata(&path).unwrap().blocks() * 512 < 1 << 20);
}

#[test]
fn an_error_of_the_store_that_is_no_damage_is_not_taken_for_damage() {
    let sandbox = Sandbox::new();
    let entry = sandbox.entry("kernel", 1);
    let index = sandbox.store.path().join("blocks").join(entry.cid.to_string());
    fs::remove_file(index).unwrap();
    let error = sandbox.export(&[entry], "out").unwrap_err();
    assert!(
        matches!(&error, HandoverError::Damaged { source, .. } if matches!(**source, StoreError::Damaged { .. })),
        "{error}"
    );
}

#[test]
fn what_is_mounted_below_the_folder_stays_where_it_is() {
    let sandbox = Sandbox::new();
    let mount = sandbox.path("out/efi");
    fs::create_dir_all(&mount).unwrap();
    let is_done = |command: &mut Command| command.output().is_ok_and(|done| done.status.success());
    if !is_done(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&mount)) {
        println!("skipped: only root can mount");
        return;
    }
    fs::write(mount.join("grub"), "grub").unwrap();
    let exported = sandbox.export(&[sandbox.entry("kernel", 1), sandbox.entry("efi/grub", 2)], "out");
    let (kernel, grub) = (fs::read(sandbox.path("out/kernel")), fs::read(mount.join("grub")));
    let is_mounted = is_done(Command::new("mountpoint").arg("-q").arg(&mount));
    assert!(is_done(Command::new("umount").arg(&mount)));
    // A file cannot be moved to another file system, so the release is refused and everything is as before.
    assert!(exported.is_err() && kernel.is_err() && is_mounted && grub.unwrap() == b"grub", "{exported:?}");
    // A release without files there is placed beside it.
    assert!(is_done(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&mount)));
    fs::write(mount.join("grub"), "grub").unwrap();
    let exported = sandbox.export(&[sandbox.entry("kernel", 1)], "out");
    let grub = fs::read(mount.join("grub"));
    assert!(is_done(Command::new("umount").arg(&mount)));
    exported.unwrap();
    assert_eq!(grub.unwrap(), b"grub");
    assert_eq!(fs::read(sandbox.path("out/kernel")).unwrap(), bytes(1, 50_000));
}

#[test]
fn root_does_not_write_where_another_user_could_exchange_folders_for_links() {
    let sandbox = Sandbox::new();
    let theirs = sandbox.path("theirs");
    fs::create_dir(&theirs).unwrap();
    if std::os::unix::fs::chown(&theirs, Some(4242), None).is_err() {
        println!("skipped: only root can give a folder to another user");
        return;
    }
    let error = sandbox.export(&[sandbox.entry("kernel", 1)], "theirs/out").unwrap_err();
    assert!(matches!(&error, HandoverError::Exposed { part, .. } if part.ends_with("theirs")), "{error}");
    assert_eq!(fs::read_dir(&theirs).unwrap().count(), 0);
    fs::set_permissions(sandbox.path("theirs"), fs::Permissions::from_mode(0o777)).unwrap();
    std::os::unix::fs::chown(&theirs, Some(0), None).unwrap();
    assert!(matches!(sandbox.export(&[sandbox.entry("kernel", 1)], "theirs/out"), Err(HandoverError::Exposed { .. })));
    // In a folder with the sticky bit, such as /tmp, a user can rename only files of their own.
    fs::set_permissions(sandbox.path("theirs"), fs::Permissions::from_mode(0o1777)).unwrap();
    sandbox.export(&[sandbox.entry("kernel", 1)], "theirs/out").unwrap();
}

#[test]
fn an_output_file_is_a_regular_file_or_nothing() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("folder")).unwrap();
    for bad in [sandbox.path("folder"), "/dev/null".into(), "/dev/no-such-device".into()] {
        assert!(matches!(Target::file_at(&bad), Err(HandoverError::BadTarget { .. })), "{}", bad.display());
    }
    assert_eq!(Target::file_at(&sandbox.path("new")).unwrap(), Target::File(sandbox.path("new")));
    assert_eq!(Target::file_at(Path::new("-")).unwrap(), Target::Stdout);
}

#[test]
fn a_switch_removes_only_folders_that_it_made() {
    let sandbox = Sandbox::new();
    symlink("nothing-yet", sandbox.path("boot")).unwrap();
    fs::create_dir(sandbox.path("boot.phase-rollback")).unwrap();
    (1..=3).for_each(|seed| sandbox.export(&[sandbox.entry("kernel", seed)], "boot").unwrap());
    assert!(sandbox.path("boot.phase-rollback").exists());
}
