//! `phase inspect`: shows the content of a file, or of a CID in a store.

mod object;
mod show;

use std::path::{Path, PathBuf};

use phase_cli::{Bytes, EXIT_CODES, Fault};
use phase_core::store::{FileStore, Store};
use phase_core::{Cid, CidError, Codec, Failure};
use serde_json::json;

use crate::files;
use crate::options::StoreArgs;
use crate::output::Output;
use object::Object;
use show::Shown;

const EXAMPLES: &str = "\
Examples:
  phase inspect root.cbor
  phase inspect store/refs/stable/x86_64               # a pointer record
  phase inspect \"$(phase inspect store/refs/stable/x86_64 --json | jq -r .manifest)\" --store store

A CID that begins with bafy is a manifest, trust root, pointer record, index or artifact. A CID that begins with bafk is
a chunk. The bytes are verified against the CID. Signatures are not verified: see `phase manifest verify`.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// A file, or a CID in the store
    #[arg(value_name = "CID|FILE")]
    target: String,
    #[command(flatten)]
    store: StoreArgs,
    /// List every chunk of an artifact
    #[arg(long)]
    chunks: bool,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    let shown = match args.target.parse::<Cid>() {
        Ok(cid) => by_cid(cid, &args.store.open_existing()?, args.chunks)?,
        Err(error) => {
            let path = PathBuf::from(&args.target);
            if !path.exists() {
                let message = format!("there is no file {}, and it is not a CID", args.target);
                let message = match error {
                    // The message already says it.
                    CidError::Text => message,
                    error => format!("{message}: {error}"),
                };
                return Err(Fault::new(Failure::Input, message));
            }
            by_file(&path, args.store.open_if_there()?.as_ref(), args.chunks)?
        }
    };
    output.result(|| shown.json, || shown.text)?;
    match shown.damage {
        Some(damage) => {
            Err(Fault::new(Failure::Store, damage).hint("`phase store repair` fetches damaged content again"))
        }
        None => Ok(()),
    }
}

fn by_cid(cid: Cid, store: &FileStore, chunks: bool) -> Result<Shown, Fault> {
    if cid.codec() == Codec::Raw {
        return chunk(cid, store);
    }
    let bytes = store.block(&cid)?.ok_or_else(|| not_here(&cid, store))?;
    let object = Object::recognise(&bytes, Some(cid), &mut |cid| store.block(cid).ok().flatten());
    let object = object.ok_or_else(|| {
        Fault::new(Failure::Input, format!("block {cid} is of no kind that this version of Phase knows"))
    })?;
    Ok(show::object(&object, cid, Some(store), chunks))
}

fn by_file(path: &Path, store: Option<&FileStore>, chunks: bool) -> Result<Shown, Fault> {
    let foreign = || {
        let kinds = "manifest, trust root, pointer record or index of Phase";
        Fault::new(Failure::Input, format!("{} is not a {kinds}", path.display()))
    };
    let bytes = files::read_if_short(path)?.ok_or_else(foreign)?;
    if bytes.starts_with(b"-----BEGIN ") {
        return Err(foreign().hint("if it is a key, use `phase key show`"));
    }
    let mut block = |cid: &Cid| store?.block(cid).ok().flatten();
    let object = Object::recognise(&bytes, None, &mut block).ok_or_else(foreign)?;
    let cid = object.cid_of(&bytes);
    Ok(show::object(&object, cid, store, chunks))
}

/// Finds the chunk with this CID in the artifacts of the store, and verifies its bytes.
fn chunk(cid: Cid, store: &FileStore) -> Result<Shown, Fault> {
    let found = store.find_chunks(std::slice::from_ref(cid.digest()))?.pop().flatten();
    let (artifact_cid, position) = found.ok_or_else(|| not_here(&cid, store))?;
    let artifact = store.artifact(&artifact_cid)?.ok_or_else(|| not_here(&artifact_cid, store))?;
    let chunk = artifact.index().chunk(position).ok_or_else(|| not_here(&cid, store))?;
    let mut bytes = vec![0; chunk.len as usize];
    artifact.read_at(chunk.offset, &mut bytes)?;
    cid.verify(&bytes)?;
    let (offset, len) = (chunk.offset, chunk.len);
    Ok(Shown {
        damage: None,
        json: json!({
            "type": "chunk",
            "cid": cid.to_string(),
            "size": len,
            "artifact": artifact_cid.to_string(),
            "position": position.0,
            "offset": offset,
            "verified": true,
        }),
        text: [
            format!("chunk      {cid}"),
            format!("size       {} ({len} B), verified", Bytes(len.into())),
            format!("artifact   {artifact_cid}"),
            format!("index      {position}, at byte {offset}"),
        ]
        .join("\n"),
    })
}

fn not_here(cid: &Cid, store: &FileStore) -> Fault {
    Fault::new(Failure::NotFound, format!("{cid} is not in the store at {}", store.path().display()))
}
