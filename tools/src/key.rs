//! `phase key`: signing keys as PEM files.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use phase_cli::Fault;
use phase_core::keys::{PublicKey, SigningKey};
use serde_json::json;

use crate::files;
use crate::output::Output;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a new key: FILE (secret, mode 0600) and FILE.pub; nothing is overwritten
    New {
        /// Where the secret key goes
        file: PathBuf,
    },
    /// Show a key's id and public half, from a secret or public key file
    Show {
        /// The key
        file: PathBuf,
    },
}

pub(crate) fn run(command: Command, output: &Output) -> Result<(), Fault> {
    match command {
        Command::New { file } => new(&file, output),
        Command::Show { file } => show(&file, output),
    }
}

/// The name of the public half's file.
fn public_path(secret: &Path) -> PathBuf {
    let mut name = secret.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

fn new(path: &Path, output: &Output) -> Result<(), Fault> {
    let public = public_path(path);
    // A key whose public half has no place is not made.
    files::check_free(&public)?;
    let key = SigningKey::generate()?;
    key.save(path)?;
    key.public().save(&public)?;
    let id = key.id().to_string();
    output.result(
        || json!({ "key_id": id, "secret": path, "public": public }),
        || format!("key id  {id}\nsecret  {} (keep it to yourself)\npublic  {}", path.display(), public.display()),
    )
}

fn show(path: &Path, output: &Output) -> Result<(), Fault> {
    let KeyFile { public, secret } = KeyFile::load(path)?;
    let (id, pem, kind) =
        (public.id().to_string(), public.to_pem(), if secret.is_some() { "secret" } else { "public" });
    output.result(
        || json!({ "key_id": id, "kind": kind, "public_pem": pem }),
        || format!("key id  {id}\nkind    {kind} key\n{}", pem.trim_end()),
    )
}

/// A key of which at least the public half is known.
#[derive(Clone, Debug)]
pub(crate) struct KeyFile {
    pub(crate) public: PublicKey,
    pub(crate) secret: Option<SigningKey>,
}

impl KeyFile {
    /// Reads a secret or a public key.
    pub(crate) fn load(path: &Path) -> Result<Self, Fault> {
        match SigningKey::load(path) {
            Ok(secret) => Ok(Self { public: secret.public(), secret: Some(secret) }),
            Err(error) => match PublicKey::load(path) {
                Ok(public) => Ok(Self { public, secret: None }),
                Err(_) => {
                    Err(Fault::from(error).hint("expected a key made by `phase key new`: the secret file or its .pub"))
                }
            },
        }
    }
}

/// Reads secret keys to sign with.
pub(crate) fn load_secrets(paths: &[PathBuf]) -> Result<Vec<SigningKey>, Fault> {
    paths.iter().map(|path| Ok(SigningKey::load(path)?)).collect()
}
