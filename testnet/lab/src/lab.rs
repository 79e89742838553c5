//! Creates and removes what a run needs on this machine: a folder, an image and a network. The image and the network
//! are labelled with the id of the run. All runs of a scenario file share them, so "run" here means all these runs.
//!
//! A child process, the reaper, removes everything after this process has exited, because this process may be killed.

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::{fs, io};

use crate::engine::{self, Engine, FoundRun, KEPT};
use crate::error::{LabError, failed};

/// The names of the programs that the image contains.
const PROGRAMS: [&str; 5] = ["phase", "phase-client", "phase-provider", "phase-hostile", "phase-testnet-node"];
/// The name of the file that says how the programs were built. It is in the same folder as the programs.
const BUILD_INFO: &str = "how";
const DOCKERFILE: &str = include_str!("../../docker/Dockerfile");
/// The prefix of the name of every folder that a lab creates.
const PREFIX: &str = "phase-testnet-";
/// The values of the subnet's third byte. They are tried in this order until a subnet is free: 10.77.0.0/24 to
/// 10.77.255.0/24.
const SUBNETS: std::ops::RangeInclusive<u8> = 0..=255;
/// A folder in RAM. If it exists, it holds the stores of the nodes, so that no disk limits the measurement. This is
/// realistic, because the store of a machine that boots into its initramfs is in RAM.
const RAM_FOLDER: &str = "/dev/shm";

/// The folder, image and network of a run. [`Lab::close`] removes them.
pub(crate) struct Lab {
    pub(crate) engine: Engine,
    pub(crate) folder: PathBuf,
    pub(crate) image: String,
    pub(crate) network: String,
    /// A text that says how the programs in the image were built.
    pub(crate) binaries: String,
    /// The path of `phase-testnet-node` on this machine, for relays, which run outside the image.
    pub(crate) helper: PathBuf,
    /// The first three bytes of every node's IPv4 address.
    subnet: [u8; 3],
    /// The process that removes the run when this process exits; `None` if the run is kept.
    reaper: Option<Reaper>,
}

impl Lab {
    /// Creates the folder, image and network of a new run. First removes what is left of runs whose process has exited.
    /// With `keep`, the new run stays until `phase-testnet down` removes it.
    pub(crate) fn open(binaries: &Path, dir: Option<&Path>, keep: bool) -> Result<Self, LabError> {
        remove_orphans()?;
        let id = format!("{:x}-{:04x}", std::process::id(), fastrand::u16(..));
        let owner = if keep { KEPT.to_owned() } else { owner() };
        let engine = Engine { id: id.clone(), owner };
        let folder = dir.map_or_else(base, Path::to_owned).join(format!("{PREFIX}{id}"));
        fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
        let reaper = if keep { None } else { Some(Reaper::start(&id, &folder)?) };
        let how = binaries.join(BUILD_INFO);
        let binaries_text = fs::read_to_string(&how).unwrap_or_else(|_| "unknown".to_owned()).trim().to_owned();
        let mut lab = Self {
            engine,
            folder,
            image: String::new(),
            network: String::new(),
            binaries: binaries_text,
            helper: binaries.join("phase-testnet-node"),
            subnet: [10, 77, 0],
            reaper,
        };
        lab.image = lab.build(binaries)?;
        lab.network = lab.create_network()?;
        Ok(lab)
    }

    /// Returns the IPv4 address of the node at this position, counted from 0. The address of the first node ends in 2.
    pub(crate) fn address(&self, position: usize) -> Ipv4Addr {
        self.address_ending_in(u8::try_from(position + 2).expect("a scenario has at most 250 nodes"))
    }

    /// Returns the IPv4 address of this machine in the run's network.
    pub(crate) fn gateway(&self) -> Ipv4Addr {
        self.address_ending_in(1)
    }

    /// Returns the subnet of the run's network, such as `10.77.0.0/24`.
    pub(crate) fn subnet(&self) -> String {
        format!("{}/24", self.address_ending_in(0))
    }

    fn address_ending_in(&self, number: u8) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, number)
    }

    fn build(&self, binaries: &Path) -> Result<String, LabError> {
        let context = self.folder.join("image");
        fs::create_dir_all(&context).map_err(failed("create", &context))?;
        for program in PROGRAMS {
            let from = binaries.join(program);
            if !from.is_file() {
                return Err(LabError::Program { program, folder: binaries.to_owned() });
            }
            fs::copy(&from, context.join(program)).map_err(failed("copy", &from))?;
        }
        let dockerfile = context.join("Dockerfile");
        fs::write(&dockerfile, DOCKERFILE).map_err(failed("write", &dockerfile))?;
        let image = self.engine.build(&context)?;
        fs::remove_dir_all(&context).map_err(failed("remove", &context))?;
        Ok(image)
    }

    fn create_network(&mut self) -> Result<String, LabError> {
        let mut last = None;
        for third in SUBNETS {
            self.subnet[2] = third;
            match self.engine.create_network(&self.subnet(), &self.folder) {
                Ok(name) => return Ok(name),
                Err(error @ LabError::Failed { .. }) if error.to_string().contains("overlaps") => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(LabError::Subnets(Box::new(last.expect("at least one range was tried"))))
    }

    /// Removes everything that the run created.
    pub(crate) fn close(mut self) -> Result<(), LabError> {
        let removed = remove(&self.engine.id, Some(&self.folder));
        if let Some(reaper) = self.reaper.take() {
            reaper.end();
        }
        removed
    }
}

/// Returns the default folder in which a lab creates the folder of a run.
fn base() -> PathBuf {
    let ram = Path::new(RAM_FOLDER);
    if ram.is_dir() { ram.to_owned() } else { std::env::temp_dir() }
}

/// A child process that waits until this process exits and then removes what is left of the run.
struct Reaper {
    child: Child,
    /// The pipe to the reaper. The operating system closes it when this process exits for any reason. The reaper then
    /// removes the run.
    lifeline: Option<ChildStdin>,
}

impl Reaper {
    fn start(id: &str, folder: &Path) -> Result<Self, LabError> {
        let program = std::env::current_exe().map_err(failed("find", Path::new("this program")))?;
        let mut command = Command::new(&program);
        command.args(["reap", id]).arg(folder).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // The reaper has its own process group, so that signals from the terminal do not reach it.
        let mut child = command.process_group(0).spawn().map_err(failed("run", &program))?;
        let lifeline = child.stdin.take();
        Ok(Self { child, lifeline })
    }

    fn end(mut self) {
        drop(self.lifeline.take());
        // The exit status of the reaper does not matter, because `close` has already removed everything. If something
        // is left, the next run removes it.
        let _ = self.child.wait();
    }
}

/// The main function of the reaper. Waits until `lifeline`, which the parent process holds open, is closed, then
/// removes what is left of a run.
///
/// # Errors
/// [`LabError`] if something cannot be removed.
pub fn reap(id: &str, folder: &Path, lifeline: &mut dyn io::Read) -> Result<(), LabError> {
    // A read error needs no other action, because it means that the parent process has exited.
    let _ = io::copy(lifeline, &mut io::sink());
    remove(id, Some(folder))
}

/// Removes everything that a run created.
pub(crate) fn remove(id: &str, folder: Option<&Path>) -> Result<(), LabError> {
    let removed = engine::remove_all(id);
    if let Some(folder) = folder
        && is_ours(folder)
        && folder.exists()
    {
        fs::remove_dir_all(folder).map_err(failed("remove", folder))?;
    }
    removed
}

/// Whether the name of this folder shows that a lab created the folder. The lab removes no other folder, because a
/// Docker label can name any folder.
fn is_ours(folder: &Path) -> bool {
    folder.is_absolute() && folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
}

/// Removes what is left of runs whose process has exited.
fn remove_orphans() -> Result<(), LabError> {
    for FoundRun { id, owner: run_owner, folder } in engine::find_runs()? {
        if run_owner != KEPT && !is_alive(&run_owner) {
            eprintln!("removing the remains of run {id}");
            remove(&id, folder.as_deref())?;
        }
    }
    Ok(())
}

/// Removes kept runs, and what is left of runs whose process has exited. Returns the ids of the removed runs, and the
/// ids of the runs that still have a process.
///
/// # Errors
/// [`LabError`] if Docker does not answer, or a part of a run cannot be removed.
pub fn take_down() -> Result<(Vec<String>, Vec<String>), LabError> {
    let (mut removed, mut busy) = (Vec::new(), Vec::new());
    for FoundRun { id, owner, folder } in engine::find_runs()? {
        if owner == KEPT || !is_alive(&owner) {
            remove(&id, folder.as_deref())?;
            removed.push(id);
        } else {
            busy.push(id);
        }
    }
    Ok((removed, busy))
}

/// Returns the process id and start time of this process, for the label of the owner. The start time is needed because
/// process ids are reused.
fn owner() -> String {
    let id = std::process::id();
    format!("{id}.{}", started(id).unwrap_or_default())
}

fn is_alive(owner: &str) -> bool {
    let Some((id, time)) = owner.split_once('.') else { return false };
    id.parse().ok().and_then(started).is_some_and(|now| now.to_string() == time)
}

/// Returns the start time of a process, in clock ticks since the machine booted.
fn started(id: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The second field, the program's name in parentheses, may contain any character, so parsing starts after it. The
    // start time is field 22.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_alive_only_with_its_id_and_start_time() {
        assert!(is_alive(&owner()));
        let id = std::process::id();
        for gone in [format!("{id}.1"), "4194305.7".to_owned(), KEPT.to_owned(), String::new()] {
            assert!(!is_alive(&gone), "{gone}");
        }
    }

    #[test]
    fn only_folders_of_labs_are_removed() {
        for folder in ["/", "/home", "phase-testnet-1", "/dev/shm/phase-testnet-1/.."] {
            assert!(!is_ours(Path::new(folder)), "{folder}");
        }
        assert!(is_ours(Path::new("/dev/shm/phase-testnet-1a-2b")));
    }
}
