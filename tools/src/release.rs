//! From files to a release: what `phase manifest new` and `phase publish` have in common.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use phase_cli::{self as cli, Fault};
use phase_core::manifest::{FileName, Role};
use phase_core::publish::{self, Draft, ReleaseFile};
use phase_core::{Failure, ImportMode, ImportOptions, Name};

use crate::output::Output;
use crate::progress::Progress;

/// What is in a release.
#[derive(Debug, Args)]
#[group(id = "content")]
pub(crate) struct ContentArgs {
    /// A file and what it is for, such as kernel=vmlinuz; ROLE:NAME=PATH gives it another name; repeatable
    #[arg(long, value_name = "ROLE=PATH")]
    artifact: Vec<ArtifactArg>,
    /// A folder: each file in it, at any depth, becomes an artifact of role "file"
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Do not copy the files into the store but refer to them where they are; they must not be changed any more
    #[arg(long)]
    reference: bool,
    /// What people call the release. Default: the version
    #[arg(long, value_name = "TEXT")]
    release: Option<String>,
    /// The one board it is for. Default: any
    #[arg(long, value_name = "TEXT")]
    board: Option<String>,
    /// The kernel command line
    #[arg(long, value_name = "TEXT")]
    cmdline: Option<String>,
    /// For how long the release is valid
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = cli::parse_duration)]
    expires: Duration,
}

/// An artifact as it is given on the command line.
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
        let path = PathBuf::from(path);
        let (role, filename) = match what.split_once(':') {
            Some((role, filename)) => (role, filename),
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
    /// Finds the files of a release.
    pub(crate) fn draft(&self, name: &Name, version: Option<u64>) -> Result<Draft, Fault> {
        let mut files = Vec::new();
        for ArtifactArg { role, filename, path } in &self.artifact {
            files.push(ReleaseFile::new(role.clone(), filename.clone(), path)?);
        }
        if let Some(dir) = &self.dir {
            files.extend(ReleaseFile::all_in(dir)?);
        }
        if files.is_empty() {
            let given = if self.dir.is_some() { "the folder has no files" } else { "no artifacts are given" };
            return Err(
                Fault::new(Failure::Usage, given).hint("give files with --artifact ROLE=PATH, or a folder with --dir")
            );
        }
        let (issued_at, expires_at) = lifetime(self.expires)?;
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
        Ok(draft)
    }
}

/// Does work that tells how far its import is, and shows that.
pub(crate) fn with_progress<T>(
    output: &Output,
    work: impl FnOnce(&mut (dyn FnMut(publish::Progress<'_>) + Send)) -> T,
) -> T {
    let mut shown = Progress::new(output.shows_progress());
    let done = work(&mut |now| shown.update(now.done, now.total, &cli::printable(now.file.as_str())));
    shown.end();
    done
}

/// From now on, for this long.
pub(crate) fn lifetime(duration: Duration) -> Result<(u64, u64), Fault> {
    let now = cli::now();
    let long = || Fault::new(Failure::Usage, "--expires is too long");
    // Less than a second is a second: a lifetime of nothing would be refused.
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
    fn an_artifact_is_a_role_a_path_and_perhaps_a_name() {
        let expect = |role: &str, name: &str, path: &str| Ok((role.to_owned(), name.to_owned(), path.to_owned()));
        assert_eq!(parse("kernel=/boot/vmlinuz-6.1"), expect("kernel", "vmlinuz-6.1", "/boot/vmlinuz-6.1"));
        assert_eq!(parse("dtb:dtbs/a.dtb=x"), expect("dtb", "dtbs/a.dtb", "x"));
        assert_eq!(parse("file=a=b"), expect("file", "a=b", "a=b"));
        for text in ["", "kernel", "kernel=", "=x", "Kernel=x", "kernel:../x=y", "kernel:=y", "kernel=..", "kernel=/"] {
            assert!(parse(text).is_err(), "{text:?} parsed");
        }
    }
}
