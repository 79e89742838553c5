//! Reads, signs and merges signed files: manifests and trust roots.

use std::path::PathBuf;

use clap::Args;
use phase_cli::{Fault, FileError, counted};
use phase_core::envelope::{Envelope, EnvelopeError, Payload};
use phase_core::{Fails, Failure, KeyId};
use serde_json::{Value, json};

use crate::output::Output;
use crate::{clock, files, key};

/// The options of `phase root sign` and `phase manifest sign`. Signing needs no network and no store.
#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The file to sign
    file: PathBuf,
    /// A secret key to sign with; repeatable
    #[arg(long, value_name = "FILE", required = true)]
    key: Vec<PathBuf>,
    /// Write the signed file here instead of replacing FILE; an existing file is never overwritten
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The options of `phase root merge` and `phase manifest merge`.
#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// Two or more copies of one signed file, each with the signatures of other keys
    #[arg(required = true, num_args = 2..)]
    files: Vec<PathBuf>,
    /// The file to write, with all signatures; an existing file is never overwritten
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    out: PathBuf,
}

/// Reads an envelope from a file. Does not verify its signatures.
pub(crate) fn read(path: &std::path::Path) -> Result<Envelope, Fault> {
    let bytes = files::read(path)?;
    Envelope::decode(&bytes).map_err(|error| at(path, error))
}

/// Returns the payload of an envelope that was read from `path`. Does not verify its signatures.
pub(crate) fn payload<P: Payload>(path: &std::path::Path, envelope: &Envelope) -> Result<P, Fault> {
    envelope.payload_unverified().map_err(|error| at(path, error))
}

/// Adds signatures to the envelope in a file. Returns the signed envelope, its payload and the path of the signed file.
/// `issued_at` returns the time at which the payload was issued. A clock before that time is wrong.
pub(crate) fn sign<P: Payload>(
    args: &SignArgs,
    issued_at: impl FnOnce(&P) -> u64,
) -> Result<(Envelope, P, PathBuf), Fault> {
    let now = clock::signing_time()?;
    let keys = key::load_secrets(&args.key)?;
    let mut envelope = read(&args.file)?;
    let unsigned = payload::<P>(&args.file, &envelope)?;
    clock::check(now, &format!("{} was issued", args.file.display()), issued_at(&unsigned))?;
    for key in &keys {
        envelope.sign::<P>(key).map_err(|error| at(&args.file, error))?;
    }
    let path = match &args.out {
        Some(out) => {
            files::write_new(out, &envelope.encode())?;
            out.clone()
        }
        None => {
            let path = args.file.canonicalize().map_err(FileError::of("find", &args.file))?;
            files::replace(&path, &envelope.encode())?;
            args.file.clone()
        }
    };
    let payload = payload(&path, &envelope)?;
    Ok((envelope, payload, path))
}

/// Writes a new file with the signatures from several copies of one signed file.
pub(crate) fn merge<P: Payload>(args: &MergeArgs, output: &Output) -> Result<(), Fault> {
    let (first, others) = args.files.split_first().expect("clap demands two files");
    let mut merged = read(first)?;
    payload::<P>(first, &merged)?;
    for path in others {
        merged.merge(&read(path)?).map_err(|error| at(path, error))?;
    }
    files::write_new(&args.out, &merged.encode())?;
    output.result(
        || json!({ "file": args.out, "cid": merged.cid().to_string(), "signatures": json_signatures(&merged) }),
        || {
            let signatures = counted(merged.signatures().len(), "signature", "signatures");
            format!("{} has {signatures}", args.out.display())
        },
    )
}

/// Returns the ids of the keys whose signatures the envelope has, as JSON. The signatures are not verified.
pub(crate) fn json_signatures(envelope: &Envelope) -> Vec<Value> {
    signers(envelope).map(|id| id.to_string().into()).collect()
}

/// The state of a signature that a command only shows.
pub(crate) fn not_verified(_: &KeyId) -> &'static str {
    "not verified here"
}

/// Returns one line for each signature of the envelope. `state` returns the state of the signature by a key.
pub(crate) fn signature_lines(envelope: &Envelope, state: impl Fn(&KeyId) -> &'static str) -> String {
    if envelope.signatures().is_empty() {
        return "signature  none".to_owned();
    }
    let lines: Vec<_> = signers(envelope).map(|id| format!("signature  by {id} ({})", state(&id))).collect();
    lines.join("\n")
}

fn signers(envelope: &Envelope) -> impl Iterator<Item = KeyId> + '_ {
    envelope.signatures().iter().map(|signature| signature.key_id())
}

/// Converts an error from reading or signing an envelope, and adds the path of its file.
fn at(path: &std::path::Path, error: EnvelopeError) -> Fault {
    let failure = match error.failure() {
        Failure::Untrusted => Failure::Untrusted,
        _ => Failure::Input,
    };
    Fault::new(failure, format!("{}: {}", path.display(), Fault::from(error).chain()))
}
