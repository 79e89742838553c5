//! `phase inspect` shows every kind of object that has a CID.

use phase_core::codec::V1;
use phase_core::{Envelope, Pointer};
use serde_json::Value;

use super::sandbox::Sandbox;

fn published() -> (Sandbox, Value) {
    let sandbox = Sandbox::with_root();
    sandbox.file("vmlinuz", 2_000_000);
    let publish = "publish --store store --root root.cbor --key a.key --channel stable --arch x86_64";
    let release = sandbox.json(&format!("{publish} --artifact kernel=vmlinuz"));
    (sandbox, release)
}

#[test]
fn every_kind_of_object_is_recognised_by_cid_and_as_file() {
    let (sandbox, release) = published();
    let artifact = release["artifacts"][0]["cid"].as_str().unwrap();
    let cases =
        [("root", release["root"].as_str()), ("manifest", release["manifest"].as_str()), ("artifact", Some(artifact))];
    for (kind, cid) in cases {
        let cid = cid.unwrap();
        for words in [format!("inspect {cid} --store store"), format!("inspect store/blocks/{cid} --store store")] {
            let shown = sandbox.json(&words);
            assert_eq!((&shown["type"], &shown["cid"]), (&kind.into(), &cid.into()), "{words}");
            assert!(sandbox.ok(&words).contains(kind), "{words}");
        }
    }
    assert_eq!(sandbox.json("inspect store/refs/stable/x86_64")["type"], "pointer");
    assert_eq!(sandbox.json("inspect root.cbor")["cid"], release["root"]);
}

#[test]
fn a_pointer_without_a_manifest_shows_its_urls() {
    let sandbox = Sandbox::with_root();
    let url = "https://example.org/release";
    let pointer = Pointer {
        v: V1,
        name: "stable/x86_64".parse().unwrap(),
        manifest: None,
        version: 3,
        issued_at: 1,
        expires_at: 2,
        urls: vec![url.to_owned()],
    };
    std::fs::write(sandbox.path("pointer"), Envelope::unsigned(&pointer).unwrap().encode()).unwrap();
    let shown = sandbox.json("inspect pointer");
    assert_eq!((&shown["type"], &shown["manifest"], &shown["urls"][0]), (&"pointer".into(), &Value::Null, &url.into()));
    let text = sandbox.ok("inspect pointer");
    assert!(text.contains(url) && !text.contains("manifest"), "{text}");
}

#[test]
fn the_chunks_of_an_artifact_are_listed_and_found_by_their_cid() {
    let (sandbox, release) = published();
    let artifact = release["artifacts"][0]["cid"].as_str().unwrap();
    let shown = sandbox.json(&format!("inspect {artifact} --store store --chunks"));
    assert_eq!((shown["size"].as_u64(), &shown["sha256"]), (Some(2_000_000), &release["artifacts"][0]["sha256"]));
    let chunks = shown["chunk_list"].as_array().unwrap();
    assert_eq!(chunks.len() as u64, shown["chunks"].as_u64().unwrap());
    assert!(chunks.len() > 4);
    let last = chunks.last().unwrap();
    let found = sandbox.json(&format!("inspect {} --store store", last["cid"].as_str().unwrap()));
    assert_eq!((&found["type"], &found["artifact"]), (&"chunk".into(), &artifact.into()));
    assert_eq!((&found["offset"], &found["size"]), (&last["offset"], &last["size"]));
}

#[test]
fn the_error_names_a_file_or_cid_that_is_unknown_malformed_or_missing() {
    let (sandbox, release) = published();
    let manifest = release["manifest"].as_str().unwrap();
    sandbox.fails("inspect vmlinuz", 3, &["vmlinuz", "not a manifest, trust root, pointer record or index"]);
    sandbox.fails("inspect a.key", 3, &["a.key"]);
    sandbox.file("empty", 0);
    sandbox.fails("inspect empty", 3, &["empty"]);
    sandbox.fails("inspect missing", 3, &["there is no file missing, and it is not a CID"]);
    sandbox.fails(&format!("inspect {}x", &manifest[..58]), 3, &["there is no file", "it is not a CID"]);
    sandbox.fails("inspect Qmc5gCcjYypU7y28oCALwfSvxCBskLuPKWpK4qpterKC7z", 3, &["CIDv0"]);
    sandbox.file("files/vmlinuz", 1);
    sandbox.ok("publish --store other/store --root root.cbor --key a.key --channel edge --arch any --dir files");
    sandbox.fails(&format!("inspect {manifest} --store other/store"), 4, &[manifest, "other/store"]);
    sandbox.fails(&format!("inspect {manifest} --store nowhere"), 7, &["no store at nowhere"]);
    assert!(!sandbox.path("nowhere").exists(), "inspect has created a store");
}

#[test]
fn a_truncated_or_swapped_artifact_is_reported_as_damaged() {
    let (sandbox, release) = published();
    let artifact = release["artifacts"][0]["cid"].as_str().unwrap();
    let path = sandbox.path("store/artifacts").join(artifact);
    let content = std::fs::read(&path).unwrap();
    let mut swapped = content.clone();
    swapped[1_000_000] ^= 1;
    for bad in [&content[..content.len() - 1], &swapped[..]] {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bad).unwrap();
        let run = sandbox.run(&format!("inspect {artifact} --store store --json"));
        let shown: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!((run.code, &shown["stored"]["state"]), (7, &"damaged".into()));
        assert!(run.stderr.contains("phase store repair"), "{}", run.stderr);
        let manifest = release["manifest"].as_str().unwrap();
        sandbox.fails(&format!("inspect {manifest} --store store"), 7, &["vmlinuz", "damaged"]);
        assert!(shown["stored"]["error"].as_str().unwrap().contains(artifact), "{shown}");
    }
    // A new file with the right bytes makes the artifact complete again.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &content).unwrap();
    assert_eq!(sandbox.json(&format!("inspect {artifact} --store store"))["stored"]["state"], "complete");
}

#[test]
fn the_error_for_a_damaged_block_names_its_file() {
    let (sandbox, release) = published();
    let manifest = release["manifest"].as_str().unwrap();
    let path = sandbox.path("store/blocks").join(manifest);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[50] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    sandbox.fails(&format!("inspect {manifest} --store store"), 7, &["damaged", manifest]);
}
