//! The subcommand `gate`. It waits until a gate file exists, and then runs another program in place of this one. So one
//! gate file starts the programs in many containers at the same instant. Docker alone would start them one after
//! another.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The time between two checks whether the gate file exists.
const POLL: Duration = Duration::from_millis(5);

/// Wait until a file exists, then run a program in place of this one
#[derive(clap::Args)]
pub(crate) struct Gate {
    /// The file to wait for; without this option the program starts at once
    #[arg(long, value_name = "FILE")]
    after: Option<PathBuf>,
    /// Append the program's standard output to FILE, and its standard error to FILE.err
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Gate {
    pub(crate) fn run(self) -> Result<(), String> {
        let append = |path: &PathBuf| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.map_err(|error| format!("cannot write {}: {error}", path.display()))
        };
        let mut errors = self.output.clone().into_os_string();
        errors.push(".err");
        let (output, errors) = (append(&self.output)?, append(&errors.into())?);
        while self.after.as_ref().is_some_and(|file| !file.exists()) {
            std::thread::sleep(POLL);
        }
        let (program, arguments) = self.command.split_first().ok_or("no program is given")?;
        let error = Command::new(program).args(arguments).stdout(output).stderr(errors).exec();
        Err(format!("cannot run {}: {error}", program.display()))
    }
}
