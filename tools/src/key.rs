//! `phase key`: makes and shows signing keys, which are PEM files.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use phase_cli::Fault;
use phase_core::keys::{PublicKey, SigningKey};
use serde_json::json;

use crate::files;
use crate::output::Output;

pub(crate) const EXAMPLES: &str = "\
Examples:
  phase key new publisher.key
  phase key show publisher.key.pub";

const NEW_EXAMPLES: &str = "\
Examples:
  phase key new publisher.key          # writes publisher.key (secret) and publisher.key.pub";

const SHOW_EXAMPLES: &str = "\
Examples:
  phase key show publisher.key
  phase key show publisher.key.pub --json";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a key pair: FILE (secret, mode 0600) and FILE.pub; existing files are never overwritten
    #[command(after_help = NEW_EXAMPLES)]
    New {
        /// The file to write the secret key to
        file: PathBuf,
    },
    /// Show the key id and the public key of a secret or public key file
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// A secret key file, or its .pub
        file: PathBuf,
    },
}

pub(crate) fn run(command: Command, output: &Output) -> Result<(), Fault> {
    match command {
        Command::New { file } => new(&file, output),
        Command::Show { file } => show(&file, output),
    }
}

/// Returns the path at which the public key of a secret key file is stored.
fn public_path(secret: &Path) -> PathBuf {
    let mut name = secret.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

fn new(path: &Path, output: &Output) -> Result<(), Fault> {
    let public = public_path(path);
    // Checked before the secret key is written, so that no secret key is left without its public key.
    files::check_free(&public)?;
    let key = SigningKey::generate()?;
    key.save(path)?;
    key.public().save(&public)?;
    let id = key.id().to_string();
    output.result(
        || json!({ "key_id": id, "secret": path, "public": public }),
        || {
            format!(
                "key id     {id}\nsecret     {} (never share this file)\npublic     {}",
                path.display(),
                public.display()
            )
        },
    )
}

fn show(path: &Path, output: &Output) -> Result<(), Fault> {
    let KeyFile { public, secret } = KeyFile::load(path)?;
    let (id, pem, kind) =
        (public.id().to_string(), public.to_pem(), if secret.is_some() { "secret" } else { "public" });
    output.result(
        || json!({ "key_id": id, "kind": kind, "public_pem": pem }),
        || format!("key id     {id}\nkind       {kind} key\n{}", pem.trim_end()),
    )
}

/// The content of a key file: the public key, and the secret key unless the file has only the public key.
#[derive(Clone, Debug)]
pub(crate) struct KeyFile {
    pub(crate) public: PublicKey,
    pub(crate) secret: Option<SigningKey>,
}

impl KeyFile {
    /// Reads a secret or public key file.
    pub(crate) fn load(path: &Path) -> Result<Self, Fault> {
        match SigningKey::load(path) {
            Ok(secret) => Ok(Self { public: secret.public(), secret: Some(secret) }),
            Err(error) => match PublicKey::load(path) {
                Ok(public) => Ok(Self { public, secret: None }),
                Err(_) => {
                    Err(Fault::from(error).hint("give a file that `phase key new` made: the secret key or its .pub"))
                }
            },
        }
    }
}

/// Reads secret key files.
pub(crate) fn load_secrets(paths: &[PathBuf]) -> Result<Vec<SigningKey>, Fault> {
    paths.iter().map(|path| Ok(SigningKey::load(path)?)).collect()
}
