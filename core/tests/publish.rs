//! Tests of publishing. Clients see a complete release or the previous release, never a part of a release. A release
//! that clients would refuse is not published.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::path::Path;

use phase_core::publish::{Draft, PublishError, Publisher, Release, ReleaseFile};
use phase_core::{
    ChannelRole, Envelope, EnvelopeError, Fails, Failure, FileStore, ImportMode, ImportOptions, Manifest, MemStore,
    Name, Pointer, SigningKey, Store, StoreError, TrustError, TrustRoot, TrustedTime,
};

const ISSUED: u64 = 500;
const NOW: u64 = 1_000;
const EXPIRES: u64 = 5_000;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_secret_bytes(&[seed; 32])
}

fn name() -> Name {
    "stable/x86_64".parse().unwrap()
}

/// Returns an encoded trust root in which key 1 signs everything, including the trust root itself.
fn root() -> Vec<u8> {
    let root = TrustRoot::of_one_key(key(1).public(), [name().channel], ISSUED, EXPIRES);
    Envelope::signed(&root, [&key(1)]).unwrap().encode()
}

/// Returns an encoded trust root, signed by key 1. Keys 1 and 2 must both sign manifests, and key 3 signs pointers.
fn root_of_three() -> Vec<u8> {
    let (signers, pointer) = ([key(1), key(2)], key(3));
    let mut root = TrustRoot::of_one_key(key(1).public(), [], ISSUED, EXPIRES);
    root.keys.extend(signers.iter().chain([&pointer]).map(|key| (key.id(), key.public())));
    let keys = signers.iter().map(SigningKey::id).collect();
    let role = ChannelRole { keys, threshold: 2, pointer_keys: [pointer.id()].into() };
    root.channels.insert(name().channel, role);
    Envelope::signed(&root, [&key(1)]).unwrap().encode()
}

fn publisher() -> Publisher {
    Publisher::new(&root(), vec![key(1)]).unwrap()
}

/// Writes a file with this content, and returns its description as a file of a release.
fn file(folder: &Path, filename: &str, content: &[u8]) -> ReleaseFile {
    let path = folder.join(filename.replace('/', "-"));
    std::fs::write(&path, content).unwrap();
    ReleaseFile::new("file".parse().unwrap(), filename.parse().unwrap(), path).unwrap()
}

fn draft(files: Vec<ReleaseFile>) -> Draft {
    Draft::new(&name(), files, ISSUED, EXPIRES)
}

/// Returns the stored pointer of the name after verifying it as a client does; `None` if the store has no pointer.
fn visible(store: &dyn Store) -> Option<Pointer> {
    let root = TrustRoot::decode_trusted(&root()).unwrap();
    let pointer = store.pointer(&name()).unwrap()?;
    Some(root.verify_pointer(&pointer, &name(), TrustedTime(NOW)).unwrap())
}

fn publish(store: &dyn Store, draft: &Draft) -> Result<Release, PublishError> {
    publisher().publish(store, draft, NOW, &mut |_| {})
}

#[test]
fn a_client_accepts_a_published_release_and_finds_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path().join("store")).unwrap();
    let contents = [("vmlinuz", vec![7; 300_000]), ("empty", vec![]), ("dtb/board.dtb", b"dtb".to_vec())];
    let files = contents.iter().map(|(name, content)| file(folder.path(), name, content)).collect();
    let draft = draft(files).with_label("2025.1").with_board("rpi,4").with_cmdline("quiet");
    let urls = vec!["http://192.0.2.1/".to_owned()];
    let release = publisher().with_urls(urls.clone()).publish(&store, &draft, NOW, &mut |_| {}).unwrap();

    let pointer = visible(&store).unwrap();
    assert_eq!((pointer.version, pointer.issued_at, pointer.expires_at, &pointer.urls), (1, NOW, EXPIRES, &urls));
    let envelope = Envelope::decode(&store.block(&pointer.manifest.unwrap()).unwrap().unwrap()).unwrap();
    let root = TrustRoot::decode_trusted(&store.block(&publisher().root_cid()).unwrap().unwrap()).unwrap();
    let manifest = root.verify_manifest(&envelope, &name(), TrustedTime(NOW)).unwrap();
    assert_eq!((&manifest, release.name()), (release.manifest(), name()));
    assert_eq!(
        (&*manifest.release, &manifest.board, &manifest.cmdline),
        ("2025.1", &Some("rpi,4".to_owned()), &Some("quiet".to_owned()))
    );
    for (entry, (filename, content)) in manifest.artifacts.iter().zip(&contents) {
        let artifact = store.artifact(&entry.cid).unwrap().unwrap();
        assert!(entry.agrees_with(artifact.index()) && entry.filename.as_str() == *filename);
        let mut bytes = vec![0; content.len()];
        artifact.read_at(0, &mut bytes).unwrap();
        assert!(bytes == *content, "{filename}");
    }
}

#[test]
fn each_release_gets_the_next_version_and_older_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (store, files) = (MemStore::new(), vec![file(folder.path(), "a", b"a")]);
    for expected in [1, 2] {
        let release = publish(&store, &draft(files.clone())).unwrap();
        assert_eq!((release.manifest().version, &*release.manifest().release), (expected, &*expected.to_string()));
    }
    publish(&store, &draft(files.clone()).with_version(9).with_label("nine")).unwrap();
    for version in [0, 8, 9] {
        // The release is refused before its files are read, so `read` stays 0.
        let other = vec![file(folder.path(), "b", format!("never read {version}").as_bytes())];
        let mut read = 0;
        let refused = draft(other).with_version(version);
        let error = publisher().publish(&store, &refused, NOW, &mut |now| read = now.done).unwrap_err();
        assert!(matches!(error, PublishError::NotNewer { held: 9, version: v, .. } if v == version), "{error}");
        assert_eq!((error.failure(), error.hint().is_some(), read), (Failure::Input, true, 0));
    }
    assert_eq!(visible(&store).unwrap().version, 9);
}

#[test]
fn the_highest_version_is_not_published_because_no_release_could_follow_it() {
    let folder = tempfile::tempdir().unwrap();
    let (store, files) = (MemStore::new(), vec![file(folder.path(), "a", b"a")]);
    let last = draft(files.clone()).with_version(u64::MAX);
    let error = publish(&store, &last).unwrap_err();
    assert!(matches!(error, PublishError::LastVersion { version: u64::MAX, .. }), "{error}");
    assert!(matches!(last.check(), Err(PublishError::LastVersion { .. })) && store.names().unwrap().is_empty());
    let manifest = last.import(&store, u64::MAX, &mut |_| {}).unwrap();
    let envelope = Envelope::signed(&manifest, &[key(1)]).unwrap();
    let error = publisher().publish_signed(&store, envelope, NOW).unwrap_err();
    assert!(matches!(error, PublishError::LastVersion { .. }), "{error}");

    publish(&store, &draft(files.clone()).with_version(u64::MAX - 1)).unwrap();
    let error = publish(&store, &draft(files)).unwrap_err();
    assert!(matches!(error, PublishError::LastVersion { .. }), "{error}");
}

#[test]
fn a_newer_release_published_meanwhile_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (store, files) = (MemStore::new(), vec![file(folder.path(), "a", b"a")]);
    let later = draft(files.clone()).with_version(3);
    let mut meanwhile = |_: phase_core::publish::Progress<'_>| drop(publish(&store, &later).unwrap());
    // The other release has the version that this one was to have.
    for version in [2, 3] {
        let store = MemStore::new();
        let mut meanwhile = |_: phase_core::publish::Progress<'_>| drop(publish(&store, &later).unwrap());
        let ours = draft(files.clone()).with_version(version).with_label("ours");
        let error = publisher().publish(&store, &ours, NOW, &mut meanwhile).unwrap_err();
        assert!(matches!(error, PublishError::NotNewer { version: v, held: 3, .. } if v == version), "{error}");
        assert_eq!(visible(&store).unwrap().version, 3);
    }
    // Without a version of its own, this release follows the other one.
    let release = publisher().publish(&store, &draft(files), NOW, &mut meanwhile).unwrap();
    assert_eq!((release.manifest().version, visible(&store).unwrap().version), (4, 4));
}

#[test]
fn another_manifest_with_the_version_in_the_store_is_not_made_visible() {
    let folder = tempfile::tempdir().unwrap();
    let (store, files) = (MemStore::new(), vec![file(folder.path(), "a", b"a")]);
    let first = publish(&store, &draft(files.clone()).with_version(5)).unwrap();
    let other = Manifest { release: "other".to_owned(), ..first.manifest().clone() };
    let other = publisher().sign(&other, NOW).unwrap();
    let error = publisher().make_visible(&store, &other).unwrap_err();
    assert!(matches!(error, PublishError::NotNewer { version: 5, held: 5, .. }), "{error}");
    assert_eq!(store.pointer(&name()).unwrap().as_ref(), Some(first.pointer()));
    publisher().make_visible(&store, &first).unwrap();
}

/// Publishes different files at the same time, and asserts that no two releases have the same version.
fn publish_at_the_same_time(store: &dyn Store, folder: &Path) {
    const PUBLISHERS: u64 = 8;
    let mut versions = std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|number| {
                let files = vec![file(folder, &format!("file-{number}"), &number.to_le_bytes())];
                scope.spawn(move || publish(store, &draft(files)).unwrap().manifest().version)
            })
            .collect();
        publishers.into_iter().map(|publisher| publisher.join().unwrap()).collect::<Vec<_>>()
    });
    versions.sort_unstable();
    assert_eq!(versions, (1..=PUBLISHERS).collect::<Vec<_>>());
    assert_eq!(visible(store).unwrap().version, PUBLISHERS);
}

#[test]
fn two_publishers_at_once_never_give_two_manifests_the_same_version() {
    let folder = tempfile::tempdir().unwrap();
    publish_at_the_same_time(&MemStore::new(), folder.path());
    publish_at_the_same_time(&FileStore::open(folder.path().join("store")).unwrap(), folder.path());
}

#[test]
fn of_two_publishers_with_the_same_version_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path().join("store")).unwrap();
    let results = std::thread::scope(|scope| {
        let publishers = [1u8, 2].map(|number| {
            let draft = draft(vec![file(folder.path(), &format!("file-{number}"), &[number])]).with_version(7);
            let store = &store;
            scope.spawn(move || publish(store, &draft))
        });
        publishers.map(|publisher| publisher.join().unwrap())
    });
    let refused: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert!(matches!(refused[..], [PublishError::NotNewer { version: 7, held: 7, .. }]), "{refused:?}");
}

#[test]
fn a_clock_before_the_issue_of_the_root_publishes_and_signs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = MemStore::new();
    let draft = Draft::new(&name(), vec![file(folder.path(), "a", b"a")], ISSUED - 1, EXPIRES);
    let now = ISSUED - 1;
    let error = publisher().publish(&store, &draft, now, &mut |_| panic!("a file is read")).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, PublishError::ClockBeforeRoot { .. }), "{message}");
    assert!(message.contains("1970-01-01T00:08:19Z") && message.contains("1970-01-01T00:08:20Z"), "{message}");
    let manifest = draft.import(&store, 1, &mut |_| {}).unwrap();
    assert!(matches!(publisher().sign(&manifest, now), Err(PublishError::ClockBeforeRoot { .. })));
    let envelope = Envelope::signed(&manifest, &[key(1)]).unwrap();
    let error = publisher().publish_signed(&store, envelope.clone(), now).unwrap_err();
    assert!(matches!(error, PublishError::ClockBeforeRoot { .. }), "{error}");
    assert!(store.names().unwrap().is_empty());
    publisher().publish_signed(&store, envelope, ISSUED).unwrap();
}

#[test]
fn a_release_that_clients_would_refuse_fails_before_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = MemStore::new();
    let files = || vec![file(folder.path(), "a", b"a")];
    let refused = |publisher: &Publisher, draft: &Draft, now: u64| {
        let error = publisher.publish(&store, draft, now, &mut |_| panic!("a file is read")).unwrap_err();
        assert_eq!(publisher.check(draft, now).unwrap_err().to_string(), error.to_string());
        error
    };
    let with =
        |root: Vec<u8>, seeds: &[u8]| Publisher::new(&root, seeds.iter().map(|seed| key(*seed)).collect()).unwrap();

    let unknown_key = refused(&with(root(), &[9]), &draft(files()), NOW);
    assert!(matches!(unknown_key, PublishError::Manifest(TrustError::Envelope(_))), "{unknown_key}");
    assert_eq!(unknown_key.failure(), Failure::Untrusted);
    let too_few_keys = refused(&with(root_of_three(), &[1, 3]), &draft(files()), NOW);
    assert!(matches!(too_few_keys, PublishError::Manifest(_)), "{too_few_keys}");
    let no_pointer_key = refused(&with(root_of_three(), &[1, 2]), &draft(files()), NOW);
    assert!(matches!(no_pointer_key, PublishError::Pointer(_)), "{no_pointer_key}");
    let no_keys = refused(&with(root(), &[]), &draft(files()), NOW);
    assert!(matches!(no_keys, PublishError::Manifest(_)), "{no_keys}");
    let expired = refused(&publisher(), &draft(files()), EXPIRES);
    assert!(matches!(expired, PublishError::Manifest(TrustError::Expired { .. })), "{expired}");
    let other_channel = Draft::new(&"nightly/any".parse().unwrap(), files(), ISSUED, EXPIRES);
    let no_channel = refused(&publisher(), &other_channel, NOW);
    assert!(matches!(no_channel, PublishError::Manifest(TrustError::NoChannel { .. })), "{no_channel}");

    let twice = [files(), files()].concat();
    let inside = [files(), vec![file(folder.path(), "a/b", b"b")]].concat();
    let backwards = Draft::new(&name(), files(), EXPIRES, ISSUED);
    for draft in [draft(vec![]), draft(twice), draft(inside), backwards, draft(files()).with_label("")] {
        let error = refused(&publisher(), &draft, NOW);
        assert!(matches!(error, PublishError::Envelope(EnvelopeError::Invalid { .. })), "{error}");
        assert!(draft.check().is_err());
    }
    let url = refused(&publisher().with_urls(vec!["ftp://x".to_owned()]), &draft(files()), NOW);
    assert!(matches!(url, PublishError::Envelope(EnvelopeError::Invalid { .. })), "{url}");
    assert!(store.names().unwrap().is_empty());

    // A signature by an unknown key does no harm if there are enough valid signatures.
    with(root_of_three(), &[1, 2, 3, 9]).publish(&store, &draft(files()), NOW, &mut |_| {}).unwrap();
}

#[test]
fn after_a_file_that_cannot_be_read_the_previous_release_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path().join("store")).unwrap();
    let files = vec![file(folder.path(), "a", b"a"), file(folder.path(), "b", b"b")];
    publish(&store, &draft(files.clone())).unwrap();
    std::fs::remove_file(files[1].path()).unwrap();
    let error = publish(&store, &draft(files)).unwrap_err();
    assert!(matches!(error, PublishError::Store(StoreError::Source { .. })), "{error}");
    assert_eq!((error.failure(), visible(&store).unwrap().version), (Failure::Input, 1));
}

#[test]
fn files_can_be_published_by_reference() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path().join("store")).unwrap();
    let files = vec![file(folder.path(), "a", b"a")];
    let options = ImportOptions::default().with_mode(ImportMode::Reference);
    let release = publish(&store, &draft(files.clone()).with_import(options)).unwrap();
    let artifact = store.artifact(&release.manifest().artifacts[0].cid).unwrap().unwrap();
    assert_eq!(artifact.path().as_deref(), Some(files[0].path()));
}

#[test]
fn a_manifest_signed_elsewhere_is_published_with_only_a_pointer_key() {
    let folder = tempfile::tempdir().unwrap();
    let (store, files) = (MemStore::new(), vec![file(folder.path(), "a", b"a")]);
    let online = Publisher::new(&root_of_three(), vec![key(3)]).unwrap();
    let manifest = draft(files).import(&store, 4, &mut |_| {}).unwrap();
    let mut envelope = Envelope::unsigned(&manifest).unwrap();
    for seed in [1, 2] {
        let error = online.publish_signed(&store, envelope.clone(), NOW).unwrap_err();
        assert!(matches!(error, PublishError::Manifest(_)), "{error}");
        assert!(store.names().unwrap().is_empty(), "a release that no client accepts is visible");
        envelope.sign::<Manifest>(&key(seed)).unwrap();
    }
    online.publish_signed(&store, envelope.clone(), NOW).unwrap();
    // The same release may be published again to renew its pointer. A different release with the same version, or an
    // older release, may not be published.
    let renewed = online.publish_signed(&store, envelope, NOW + 1).unwrap();
    assert_eq!(renewed.pointer().payload_unverified::<Pointer>().unwrap().issued_at, NOW + 1);
    assert_eq!(store.pointer(&name()).unwrap().as_ref(), Some(renewed.pointer()));
    for (version, release) in [(4, "other"), (3, "3")] {
        let other = Manifest { version, release: release.to_owned(), ..manifest.clone() };
        let other = Envelope::signed(&other, &[key(1), key(2)]).unwrap();
        let error = online.publish_signed(&store, other, NOW).unwrap_err();
        assert!(matches!(error, PublishError::NotNewer { held: 4, .. }), "{error}");
    }
}

#[test]
fn a_manifest_whose_files_are_not_in_the_store_is_not_published() {
    let folder = tempfile::tempdir().unwrap();
    let (elsewhere, store) = (MemStore::new(), MemStore::new());
    let manifest = draft(vec![file(folder.path(), "a", b"a")]).import(&elsewhere, 1, &mut |_| {}).unwrap();
    let refused = |store: &MemStore, manifest: &Manifest| {
        let envelope = Envelope::signed(manifest, &[key(1)]).unwrap();
        let error = publisher().publish_signed(store, envelope, NOW).unwrap_err();
        assert!(matches!(error, PublishError::NotImported { .. }), "{error}");
        assert!(store.names().unwrap().is_empty());
    };
    refused(&store, &manifest);
    let mut wrong_size = manifest;
    wrong_size.artifacts[0].size += 1;
    refused(&elsewhere, &wrong_size);
}
