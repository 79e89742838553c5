//! Formats the objects that `phase inspect` shows, as text and as JSON.

use phase_cli::{Bytes, Fault, counted};
use phase_core::envelope::Envelope;
use phase_core::manifest::Manifest;
use phase_core::store::{FileStore, Store};
use phase_core::{ArtifactIndex, Cid, Codec};
use serde_json::{Value, json};

use super::object::Object;
use crate::{envelopes, view};

/// The output of `phase inspect` for one object, as JSON and as text.
pub(super) struct Shown {
    pub(super) json: Value,
    pub(super) text: String,
    /// The damage of the object or of one of its artifacts in the store, if there is any.
    pub(super) damage: Option<String>,
}

pub(super) fn object(object: &Object, cid: Cid, store: Option<&FileStore>, chunks: bool) -> Shown {
    let mut shown = match object {
        Object::Manifest(envelope, manifest) => manifest_with_state(envelope, manifest, store),
        Object::Root(envelope, root) => signed(envelope, view::root_json(root), &view::root_text(root)),
        Object::Pointer(envelope, pointer) => {
            signed(envelope, view::pointer_json(pointer), &view::pointer_text(pointer))
        }
        Object::Index(index) => artifact(index, cid, store, chunks),
        Object::PartOfIndex { missing, .. } => Shown {
            damage: None,
            json: json!({ "type": "index", "missing_blocks": missing }),
            text: format!(
                "the index of an artifact; {} missing in the store",
                counted(*missing, "of its blocks is", "of its blocks are")
            ),
        },
        Object::Leaf(entries) => {
            let bytes: u64 = entries.iter().map(|entry| u64::from(entry.len)).sum();
            let count = entries.len();
            Shown {
                damage: None,
                json: json!({ "type": "index leaf", "chunks": count, "bytes": bytes }),
                text: format!(
                    "a leaf block of an artifact's index: {}, {}",
                    counted(count, "chunk", "chunks"),
                    Bytes(bytes)
                ),
            }
        }
    };
    let kind = shown.json["type"].as_str().unwrap_or_default().to_owned();
    shown.text = format!("type       {kind}\ncid        {cid}\n{}", shown.text);
    shown.json["cid"] = cid.to_string().into();
    shown
}

fn signed(envelope: &Envelope, mut json: Value, text: &str) -> Shown {
    json["signatures"] = envelopes::json_signatures(envelope).into();
    let text = format!("{text}\n{}", envelopes::signature_lines(envelope, envelopes::not_verified));
    Shown { json, text, damage: None }
}

/// Formats a manifest, with the state of each of its artifacts in the store.
fn manifest_with_state(envelope: &Envelope, manifest: &Manifest, store: Option<&FileStore>) -> Shown {
    let mut shown = signed(envelope, view::manifest_json(manifest), &view::manifest_text(manifest));
    let Some(store) = store else { return shown };
    let mut complete = 0;
    for (position, entry) in manifest.artifacts.iter().enumerate() {
        let (state, text) = artifact_state(&entry.cid, store);
        if state["state"] == "complete" {
            complete += 1;
        } else if state["state"] == "damaged" {
            shown.text += &format!("\n{}: {text}", entry.filename);
            shown.damage.get_or_insert_with(|| format!("{}: {text}", entry.filename));
        }
        shown.json["artifacts"][position]["stored"] = state;
    }
    shown.text += &format!("\nin store   {complete} of {} artifacts complete", manifest.artifacts.len());
    shown
}

fn artifact(index: &ArtifactIndex, cid: Cid, store: Option<&FileStore>, chunks: bool) -> Shown {
    let blocks = index.encode().blocks.len();
    let lens = || index.chunks().map(|chunk| chunk.len);
    let (least, most) = (lens().min().unwrap_or_default(), lens().max().unwrap_or_default());
    let mean = index.size().checked_div(index.len().into()).unwrap_or_default();
    let params = index.chunker();
    let mut json = json!({
        "type": "artifact",
        "size": index.size(),
        "sha256": index.sha256().to_string(),
        "chunks": index.len(),
        "chunk_sizes": { "least": least, "mean": mean, "most": most },
        "chunker": { "min": params.min(), "avg": params.avg(), "max": params.max() },
        "index_blocks": blocks,
    });
    let mut lines = vec![
        format!("size       {} ({} B)", Bytes(index.size()), index.size()),
        format!("sha256     {}", index.sha256()),
        format!(
            "chunks     {}, {} to {}, {} on average",
            index.len(),
            Bytes(least.into()),
            Bytes(most.into()),
            Bytes(mean)
        ),
        format!("index      {}", counted(blocks, "block", "blocks")),
    ];
    let mut damage = None;
    if let Some(store) = store {
        let (state, text) = artifact_state(&cid, store);
        damage = (state["state"] == "damaged").then(|| text.clone());
        json["stored"] = state;
        lines.push(format!("stored     {text}"));
    }
    if chunks {
        let chunk_cid = |digest| Cid::new(Codec::Raw, index.hash(), digest).to_string();
        let list = index.chunks().map(|c| json!({ "cid": chunk_cid(c.digest), "offset": c.offset, "size": c.len }));
        json["chunk_list"] = list.collect();
        lines.push(format!("{:>14} {:>8} chunk", "offset", "bytes"));
        lines.extend(index.chunks().map(|c| format!("{:>14} {:>8} {}", c.offset, c.len, chunk_cid(c.digest))));
    }
    Shown { json, text: lines.join("\n"), damage }
}

/// Returns the state of an artifact in the store, as JSON and as text.
fn artifact_state(cid: &Cid, store: &FileStore) -> (Value, String) {
    match store.artifact(cid) {
        Ok(Some(artifact)) => {
            let place = artifact.path().map_or("in the store".to_owned(), |path| path.display().to_string());
            (json!({ "state": "complete", "path": artifact.path() }), format!("complete: {place}"))
        }
        Ok(None) => (json!({ "state": "incomplete" }), "not complete in this store".to_owned()),
        Err(error) => {
            let why = Fault::from(error).chain();
            (json!({ "state": "damaged", "error": why }), format!("damaged: {why}"))
        }
    }
}
