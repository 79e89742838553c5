//! What a run makes on this machine, and how all of it goes again: an id that everything is labelled with, a folder, an image,
//! a network. A reaper outlives the process and cleans up after it, however it ends.

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::{fs, io};

use crate::engine::{self, Engine, KEPT, Trace};
use crate::error::{LabError, failed};

/// The programs in the image.
const PROGRAMS: [&str; 5] = ["phase", "phase-client", "phase-provider", "phase-hostile", "phase-testnet-node"];
/// Says how the programs were built.
const HOW: &str = "how";
const DOCKERFILE: &str = include_str!("../../docker/Dockerfile");
/// What the names of folders begin with.
const PREFIX: &str = "phase-testnet-";
/// Networks that are tried, until one is not in use: 10.77.0.0/24 and those after it.
const SUBNETS: std::ops::RangeInclusive<u8> = 0..=255;
/// Memory as a folder: what machines in their initramfs store in, and no disk is the limit of a measurement.
const MEMORY: &str = "/dev/shm";

/// See the module's documentation. Closing it removes everything.
pub(crate) struct Lab {
    pub(crate) engine: Engine,
    pub(crate) folder: PathBuf,
    pub(crate) image: String,
    pub(crate) network: String,
    /// How the programs in the image were built.
    pub(crate) binaries: String,
    /// `phase-testnet-node`, for what runs beside containers.
    pub(crate) helper: PathBuf,
    /// The first three bytes of every address.
    subnet: [u8; 3],
    reaper: Option<Reaper>,
}

impl Lab {
    /// Sets everything up. What runs left whose process is gone is removed first. `keep`: it stays until it is taken down.
    pub(crate) fn open(binaries: &Path, dir: Option<&Path>, keep: bool) -> Result<Self, LabError> {
        remove_orphans()?;
        let id = format!("{:x}-{:04x}", std::process::id(), fastrand::u16(..));
        let owner = if keep { KEPT.to_owned() } else { owner() };
        let engine = Engine { id: id.clone(), owner };
        let folder = dir.map_or_else(base, Path::to_owned).join(format!("{PREFIX}{id}"));
        fs::create_dir_all(&folder).map_err(failed("make", &folder))?;
        let reaper = if keep { None } else { Some(Reaper::start(&id, &folder)?) };
        let how = binaries.join(HOW);
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
        lab.network = lab.make_network()?;
        Ok(lab)
    }

    /// The address of a node: 2 and beyond.
    pub(crate) fn address(&self, position: usize) -> Ipv4Addr {
        self.numbered(u8::try_from(position + 2).expect("a scenario has at most 250 nodes"))
    }

    /// The address of this machine.
    pub(crate) fn gateway(&self) -> Ipv4Addr {
        self.numbered(1)
    }

    /// All addresses.
    pub(crate) fn subnet(&self) -> String {
        format!("{}/24", self.numbered(0))
    }

    fn numbered(&self, number: u8) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, number)
    }

    fn build(&self, binaries: &Path) -> Result<String, LabError> {
        let context = self.folder.join("image");
        fs::create_dir_all(&context).map_err(failed("make", &context))?;
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

    fn make_network(&mut self) -> Result<String, LabError> {
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

    /// Removes everything.
    pub(crate) fn close(mut self) -> Result<(), LabError> {
        let removed = remove(&self.engine.id, Some(&self.folder));
        if let Some(reaper) = self.reaper.take() {
            reaper.end();
        }
        removed
    }
}

/// Where folders are made unless told otherwise.
fn base() -> PathBuf {
    let memory = Path::new(MEMORY);
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// A process of ours that waits for the end of this one and then removes what is left.
struct Reaper {
    child: Child,
    /// Closed by the system when this process ends, however it does.
    lifeline: Option<ChildStdin>,
}

impl Reaper {
    fn start(id: &str, folder: &Path) -> Result<Self, LabError> {
        let program = std::env::current_exe().map_err(failed("find", Path::new("this program")))?;
        let mut command = Command::new(&program);
        command.args(["reap", id]).arg(folder).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // Signals from the terminal are for us alone.
        let mut child = command.process_group(0).spawn().map_err(failed("run", &program))?;
        let lifeline = child.stdin.take();
        Ok(Self { child, lifeline })
    }

    fn end(mut self) {
        drop(self.lifeline.take());
        // What it finds is gone already; if it cannot end, the next run removes what is left.
        let _ = self.child.wait();
    }
}

/// Waits until nobody writes to `lifeline` any more, then removes what is left of a run: what the reaper does.
///
/// # Errors
/// If something cannot be removed.
pub fn reap(id: &str, folder: &Path, lifeline: &mut dyn io::Read) -> Result<(), LabError> {
    // It ends, with an error or without.
    let _ = io::copy(lifeline, &mut io::sink());
    remove(id, Some(folder))
}

/// Removes everything of a run.
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

/// Whether a folder is one that a lab made: nothing else is ever removed, whatever a label says.
fn is_ours(folder: &Path) -> bool {
    folder.is_absolute() && folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
}

/// Removes what is left of runs whose process is gone.
fn remove_orphans() -> Result<(), LabError> {
    for Trace { id, owner: whose, folder } in engine::traces()? {
        if whose != KEPT && !is_alive(&whose) {
            eprintln!("removing what an earlier run left: {id}");
            remove(&id, folder.as_deref())?;
        }
    }
    Ok(())
}

/// Removes everything that is kept or left over. Returns the ids of the runs that it belonged to, and of those that go on.
///
/// # Errors
/// If Docker cannot be asked, or something cannot be removed.
pub fn take_down() -> Result<(Vec<String>, Vec<String>), LabError> {
    let (mut removed, mut busy) = (Vec::new(), Vec::new());
    for Trace { id, owner, folder } in engine::traces()? {
        if owner == KEPT || !is_alive(&owner) {
            remove(&id, folder.as_deref())?;
            removed.push(id);
        } else {
            busy.push(id);
        }
    }
    Ok((removed, busy))
}

/// This process: its id and when it was started, since ids are used again.
fn owner() -> String {
    let id = std::process::id();
    format!("{id}.{}", started(id).unwrap_or_default())
}

fn is_alive(owner: &str) -> bool {
    let Some((id, time)) = owner.split_once('.') else { return false };
    id.parse().ok().and_then(started).is_some_and(|now| now.to_string() == time)
}

/// When a process was started, in ticks since the machine was.
fn started(id: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The second field is a name in parentheses, in which there may be anything. The 22nd is the time.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_no_other_has_its_name() {
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
