//! Block devices. These tests need root and loop devices, and pass with a remark where there are none.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use phase_core::handover::{HandoverError, InPlaceStore, Mode, Output, Target, export};
use phase_core::{FileStore, ImportMode, Store};

use super::entry;
use crate::data::{bytes, fetch, import_options, write};

/// The lock of the tests that use loop devices: `losetup` opens the devices of other tests while it looks for a free one.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A loop device over a file, which is detached when dropped.
struct Loop {
    device: PathBuf,
    file: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl Loop {
    /// Returns `None` if this machine has no loop device for this user.
    fn over(file: PathBuf, content: &[u8]) -> Option<Self> {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        fs::write(&file, content).unwrap();
        let made = Command::new("losetup").args(["--find", "--show"]).arg(&file).output();
        match made {
            Ok(made) if made.status.success() => {
                let device = String::from_utf8(made.stdout).unwrap().trim().into();
                Some(Self { device, file, _alone: alone })
            }
            _ => {
                println!("skipped: this machine has no loop device for this user");
                None
            }
        }
    }

    fn content(&self) -> Vec<u8> {
        fs::read(&self.file).unwrap()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}

fn to(device: &Path) -> Target {
    let target = Target::at(device).unwrap();
    assert_eq!(target, Target::Device(device.to_owned()));
    target
}

#[test]
fn a_device_gets_the_artifact_and_keeps_what_follows_it() {
    let folder = tempfile::tempdir().unwrap();
    let Some(device) = Loop::over(folder.path().join("disk"), &[7; 1 << 20]) else { return };
    let store = FileStore::open(folder.path().join("store")).unwrap();
    // Zeros overwrite what was there.
    let content = [bytes(1, 200_000), vec![0; 300_000], bytes(2, 100_000)].concat();
    let entry = entry("image", &*fetch(&store, &content));
    export(&store, &[entry], &to(&device.device), Mode::Copy).unwrap();
    let written = device.content();
    assert!(written[..content.len()] == content && written[content.len()..].iter().all(|byte| *byte == 7));
}

#[test]
fn what_a_device_has_already_is_not_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let content = [bytes(1, 200_000), vec![0; 300_000], bytes(2, 100_000)].concat();
    let mut before = content.clone();
    before.resize(1 << 20, 7);
    before[150_000] ^= 1;
    before[400_000] ^= 1;
    let Some(device) = Loop::over(folder.path().join("disk"), &before) else { return };
    let (cid, index) = crate::data::index_of(&content);
    let artifact = fetch(&phase_core::MemStore::new(), &content);
    let output = Arc::new(Output::prepare(&to(&device.device), &[entry("image", &*artifact)], true).unwrap());
    let store = InPlaceStore::new();
    store.set_output(output.clone());
    let partial = store.partial(&cid, index).unwrap();
    let missing: Vec<_> = partial.have().iter_missing().map(|chunk| chunk.0).collect();
    assert_eq!(missing.len(), 1, "only the changed chunk is fetched, and the zeros are written without a peer");
    write(&*partial, &content, missing);
    partial.finish().unwrap();
    output.commit().unwrap();
    assert!(device.content()[..content.len()] == content);
}

#[test]
fn a_device_that_is_too_small_or_held_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let Some(device) = Loop::over(folder.path().join("disk"), &[7; 1 << 20]) else { return };
    let store = FileStore::open(folder.path().join("store")).unwrap();
    let (big, small) = (fetch(&store, &bytes(1, (1 << 20) + 1)), fetch(&store, &bytes(2, 50_000)));
    let to_device = |artifact: &dyn phase_core::Artifact| {
        export(&store, &[entry("image", artifact)], &to(&device.device), Mode::Copy)
    };
    let error = to_device(&*big).unwrap_err();
    assert!(matches!(error, HandoverError::DeviceTooSmall { size: 1_048_576, needed: 1_048_577, .. }), "{error}");
    {
        const O_EXCL: i32 = 0o200;
        let _held = OpenOptions::new().read(true).custom_flags(O_EXCL).open(&device.device).unwrap();
        let error = to_device(&*small).unwrap_err();
        assert!(matches!(error, HandoverError::DeviceBusy { .. }), "{error}");
    }
    // Another process that has it open for writing, without the exclusive flag.
    let writable = File::options().read(true).write(true).open(&device.device).unwrap();
    let mut child = Command::new("sleep").arg("60").stdin(writable.try_clone().unwrap()).spawn().unwrap();
    drop(writable);
    let error = to_device(&*small).unwrap_err();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(error.to_string().contains(&format!("process {}", child.id())), "{error}");
    assert!(device.content().iter().all(|byte| *byte == 7));
    to_device(&*small).unwrap();
}

#[test]
fn a_device_that_does_not_exist_is_no_folder() {
    let error = Target::at(Path::new("/dev/disk/by-partlabel/no-such-partition")).unwrap_err();
    assert!(matches!(&error, HandoverError::BadTarget { kind, .. } if kind.contains("does not exist")), "{error}");
    let error = Target::at(Path::new("/dev/null")).unwrap_err();
    assert!(matches!(&error, HandoverError::BadTarget { kind, .. } if kind.contains("character device")), "{error}");
}

#[test]
fn a_device_can_be_imported_and_is_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let content = [bytes(1, 200_000), vec![0; 500_000], bytes(2, (1 << 20) - 700_000)].concat();
    let Some(device) = Loop::over(folder.path().join("disk"), &content) else { return };
    let store = FileStore::open(folder.path().join("store")).unwrap();
    let artifact = store.import(&device.device, &import_options(), &mut |_| {}).unwrap();
    assert!(crate::data::content(&*artifact) == content);
    let by_reference = import_options().with_mode(ImportMode::Reference);
    let error = store.import(&device.device, &by_reference, &mut |_| {}).map(drop).unwrap_err();
    assert!(error.to_string().contains(device.device.to_str().unwrap()), "{error}");
}
