//! Makes the draft of a release from files, for `phase manifest new` and `phase publish`.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use phase_cli::{self as cli, Fault};
use phase_core::manifest::{FileName, Role};
use phase_core::publish::{self, Draft, FolderFiles, ReleaseFile, Remark};
use phase_core::store::STANDARD_INPUT;
use phase_core::{Failure, ImportMode, ImportOptions, Name};

use serde_json::{Value, json};

use crate::output::Output;
use crate::progress::Progress;

/// The heading of the release options in `--help`.
pub(crate) const RELEASE: &str = "Release options";

/// The options that describe the content of a release.
#[derive(Debug, Args)]
#[group(id = "content")]
pub(crate) struct ContentArgs {
    /// A file and its role, such as kernel=vmlinuz; ROLE:NAME=PATH gives it another file name; repeatable. The file may
    /// be a pipe or a block device; ROLE:NAME=- reads standard input
    #[arg(long, value_name = "ROLE=PATH", help_heading = RELEASE)]
    artifact: Vec<ArtifactArg>,
    /// A folder: each file in it, at any depth, becomes an artifact with the role "file". Symbolic links are followed
    /// inside the folder; modes, owners and empty folders are not carried over
    #[arg(long, value_name = "DIR", help_heading = RELEASE)]
    dir: Option<PathBuf>,
    /// Refer to the files where they are instead of copying them into the store; they must not change afterwards
    #[arg(long, help_heading = RELEASE)]
    reference: bool,
    /// The release label, which is the text that people see. Default: the version
    #[arg(long, value_name = "TEXT", help_heading = RELEASE)]
    release: Option<String>,
    /// The only board that the release is for. Default: any board
    #[arg(long, value_name = "TEXT", help_heading = RELEASE)]
    board: Option<String>,
    /// The command line for the kernel of the release
    #[arg(long, value_name = "TEXT", help_heading = RELEASE)]
    cmdline: Option<String>,
    /// How long the release is valid
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = cli::parse_duration,
        allow_hyphen_values = true, help_heading = RELEASE)]
    expires: Duration,
}

/// The value of the option `--artifact`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ArtifactArg {
    role: Role,
    filename: FileName,
    path: PathBuf,
}

impl FromStr for ArtifactArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text:?} is not of the form ROLE=PATH or ROLE:NAME=PATH, for instance kernel=vmlinuz");
        let (what, path) = text.split_once('=').filter(|(_, path)| !path.is_empty()).ok_or_else(form)?;
        let path = PathBuf::from(if path == "-" { STANDARD_INPUT } else { path });
        let (role, filename) = match what.split_once(':') {
            Some((role, filename)) => (role, filename),
            None if path == Path::new(STANDARD_INPUT) => {
                return Err(format!("standard input has no file name: give it one, for instance {what}:vmlinuz=-"));
            }
            None => (what, path.file_name().and_then(|name| name.to_str()).ok_or_else(form)?),
        };
        Ok(Self {
            role: role.parse().map_err(|error: phase_core::manifest::RoleError| error.to_string())?,
            filename: filename.parse().map_err(|error: phase_core::manifest::FileNameError| error.to_string())?,
            path,
        })
    }
}

impl ContentArgs {
    /// Finds the files that the options name, and returns the draft of a release with these files, issued at `now`.
    pub(crate) fn draft(&self, name: &Name, version: Option<u64>, now: u64) -> Result<Content, Fault> {
        let mut files = self.artifacts()?;
        let mut remarks = Vec::new();
        if let Some(dir) = &self.dir {
            let folder = FolderFiles::list(dir)?;
            files.extend(folder.files);
            remarks.extend(folder.remarks);
        }
        remarks.extend(publish::case_twins(files.iter().map(ReleaseFile::filename)));
        if files.is_empty() {
            let cause = match &self.dir {
                Some(dir) => format!("the folder {} has no files", dir.display()),
                None => "no artifacts are given".to_owned(),
            };
            return Err(
                Fault::new(Failure::Usage, cause).hint("give files with --artifact ROLE=PATH, or a folder with --dir")
            );
        }
        let (issued_at, expires_at) = lifetime(now, self.expires)?;
        let mode = if self.reference { ImportMode::Reference } else { ImportMode::Copy };
        let mut draft =
            Draft::new(name, files, issued_at, expires_at).with_import(ImportOptions::default().with_mode(mode));
        if let Some(version) = version {
            draft = draft.with_version(version);
        }
        if let Some(release) = &self.release {
            draft = draft.with_label(release);
        }
        if let Some(board) = &self.board {
            draft = draft.with_board(board);
        }
        if let Some(cmdline) = &self.cmdline {
            draft = draft.with_cmdline(cmdline);
        }
        Ok(Content { draft, remarks })
    }

    /// Checks that publishing would publish neither a secret key nor the store, which has the secret key of a node.
    pub(crate) fn check_private<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a Path>,
        store: &Path,
    ) -> Result<(), Fault> {
        let real = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or(path.into());
        let mut secrets: Vec<PathBuf> = keys.into_iter().map(Path::to_owned).collect();
        secrets.push(store.join("identity.key"));
        let in_dir = self.dir.iter().flat_map(|dir| {
            let of = secrets.iter().map(PathBuf::as_path).chain([store]);
            of.filter(|secret| real(secret).starts_with(real(dir))).map(move |secret| (dir, secret))
        });
        let named = self.artifact.iter().flat_map(|ArtifactArg { path, .. }| {
            let of = secrets.iter().map(PathBuf::as_path);
            of.filter(|secret| real(secret) == real(path)).map(move |secret| (path, secret))
        });
        let Some((given, secret)) = in_dir.chain(named).next() else { return Ok(()) };
        let (secret, given) = (secret.display(), given.display());
        let message = format!("{secret} must stay secret, but publishing {given} would publish it");
        Err(Fault::new(Failure::Input, message).hint("move the keys and the store to another folder"))
    }

    /// Finds the files of the options `--artifact`.
    fn artifacts(&self) -> Result<Vec<ReleaseFile>, Fault> {
        let is_input = |arg: &&ArtifactArg| arg.path == Path::new(STANDARD_INPUT);
        if self.artifact.iter().filter(is_input).count() > 1 {
            let message = "standard input is given twice, but it can be read only once";
            return Err(Fault::new(Failure::Usage, message).hint("write one of the inputs to a file first"));
        }
        let mut files = Vec::new();
        for ArtifactArg { role, filename, path } in &self.artifact {
            if path.is_dir() {
                let message = format!("{} is a folder, not a regular file", path.display());
                return Err(Fault::new(Failure::Input, message).hint(format!("use --dir {}", path.display())));
            }
            let file = ReleaseFile::new(role.clone(), filename.clone(), path)?;
            if self.reference {
                file.check_reference()?;
            }
            files.push(file);
        }
        Ok(files)
    }
}

/// The draft of a release, and what the release does not carry over from its files.
pub(crate) struct Content {
    pub(crate) draft: Draft,
    pub(crate) remarks: Vec<Remark>,
}

/// Prints what a release does not carry over from its files.
pub(crate) fn show(remarks: &[Remark], output: &Output) {
    remarks.iter().for_each(|remark| output.remark(&format!("note: {}", cli::printable(&remark.to_string()))));
}

/// Returns what a release does not carry over from its files, as JSON.
pub(crate) fn remarks_json(remarks: &[Remark]) -> Value {
    let one = |remark: &Remark| {
        let (kind, text) = (remark.kind.as_str(), remark.to_string());
        json!({ "kind": kind, "count": remark.count, "examples": remark.examples, "text": text })
    };
    remarks.iter().map(one).collect()
}

/// Runs `work`, which imports files, and shows its progress.
pub(crate) fn with_progress<T>(
    output: &Output,
    work: impl FnOnce(&mut (dyn FnMut(publish::Progress<'_>) + Send)) -> T,
) -> T {
    let mut shown = Progress::new(output.shows_progress());
    let done = work(&mut |now| match (now.total, cli::printable(now.file.as_str())) {
        (Some(total), file) => shown.update(now.done, total, &file),
        (None, file) => shown.update_without_total(now.done, &file),
    });
    shown.end();
    done
}

/// Returns the time `now` and the time after `duration`, in seconds since 1970.
pub(crate) fn lifetime(now: u64, duration: Duration) -> Result<(u64, u64), Fault> {
    let long = || Fault::new(Failure::Usage, "the time of --expires is too long: give a shorter one");
    // A duration below one second is rounded up to one second, because a lifetime of zero is refused.
    Ok((now, now.checked_add(duration.as_secs().max(1)).ok_or_else(long)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(String, String, String), String> {
        let arg: ArtifactArg = text.parse()?;
        Ok((arg.role.to_string(), arg.filename.to_string(), arg.path.display().to_string()))
    }

    #[test]
    fn an_artifact_argument_has_a_role_a_path_and_optionally_a_file_name() {
        let expect = |role: &str, name: &str, path: &str| Ok((role.to_owned(), name.to_owned(), path.to_owned()));
        assert_eq!(parse("kernel=/boot/vmlinuz-6.1"), expect("kernel", "vmlinuz-6.1", "/boot/vmlinuz-6.1"));
        assert_eq!(parse("dtb:dtbs/a.dtb=x"), expect("dtb", "dtbs/a.dtb", "x"));
        assert_eq!(parse("file=a=b"), expect("file", "a=b", "a=b"));
        assert_eq!(parse("kernel:vmlinuz=-"), expect("kernel", "vmlinuz", "/dev/stdin"));
        assert_eq!(parse("kernel=./-"), expect("kernel", "-", "./-"));
        assert!(parse("kernel=-").unwrap_err().contains("kernel:vmlinuz=-"));
        for text in ["", "kernel", "kernel=", "=x", "Kernel=x", "kernel:../x=y", "kernel:=y", "kernel=..", "kernel=/"] {
            assert!(parse(text).is_err(), "{text:?} parsed");
        }
    }
}
