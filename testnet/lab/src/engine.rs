//! The Docker engine, by way of its command line: what is done here can be repeated by hand.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::LabError;

/// The label of everything that is made; its value is the id of the run.
pub(crate) const LABEL: &str = "phase.testnet";
/// The label that names the process to which a run belongs, or [`KEPT`].
pub(crate) const OWNER: &str = "phase.testnet.owner";
/// The owner of what is to stay until it is taken down.
pub(crate) const KEPT: &str = "kept";
/// The label that names the folder of a run.
pub(crate) const FOLDER: &str = "phase.testnet.folder";

/// How TCP in containers reacts to losses: the same on every machine, whatever its kernel does otherwise. Every kernel has it
/// and permits it to containers.
const CONGESTION_CONTROL: &str = "reno";

/// Runs a command until its end; returns what it printed. Ctrl-C does not reach it.
pub(crate) fn command<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Result<String, LabError> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).process_group(0);
    let output = command.output().map_err(|source| LabError::Missing {
        program: program.to_owned(),
        source,
        hint: match program {
            "docker" => "install Docker, and start its engine",
            "nft" => "install nftables",
            _ => "install util-linux and iproute2",
        },
    })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let arguments: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_string_lossy()).collect();
    let said = format!("{} {}", text(&output.stderr), text(&output.stdout));
    let said = if said.trim().is_empty() { output.status.to_string() } else { said.trim().to_owned() };
    Err(LabError::Failed { command: format!("{program} {}", arguments.join(" ")), output: said })
}

/// A container that is to be made.
pub(crate) struct Container<'a> {
    pub(crate) name: &'a str,
    pub(crate) address: Ipv4Addr,
    /// Folders of this machine and where they are in the container; `true`: cannot be written there.
    pub(crate) mounts: Vec<(PathBuf, &'static str, bool)>,
    pub(crate) command: Vec<String>,
}

/// The engine, for the run with this id.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    pub(crate) id: String,
    pub(crate) owner: String,
}

impl Engine {
    /// The engine's version.
    pub(crate) fn version() -> Result<String, LabError> {
        docker(&["version", "--format", "{{.Server.Version}}"])
    }

    /// Builds an image from a folder that has a Dockerfile; returns its name.
    pub(crate) fn build(&self, context: &Path) -> Result<String, LabError> {
        let image = format!("phase-testnet:{}", self.id);
        let mut words = vec!["build".to_owned(), "--quiet".to_owned(), "--tag".to_owned(), image.clone()];
        words.extend(self.labels());
        words.push(context.display().to_string());
        docker(&words)?;
        Ok(image)
    }

    /// Makes a network with these addresses; returns its name.
    pub(crate) fn create_network(&self, subnet: &str, folder: &Path) -> Result<String, LabError> {
        let name = format!("phase-testnet-{}", self.id);
        let mut words = vec!["network".to_owned(), "create".to_owned(), "--subnet".to_owned(), subnet.to_owned()];
        words.extend(self.labels());
        words.extend(["--label".to_owned(), format!("{FOLDER}={}", folder.display()), name.clone()]);
        docker(&words)?;
        Ok(name)
    }

    /// Makes a container of an image in a network, and does not start it.
    pub(crate) fn create(&self, image: &str, network: &str, container: &Container<'_>) -> Result<(), LabError> {
        let mut words: Vec<String> =
            ["create", "--name", container.name, "--network", network].map(str::to_owned).into();
        words.extend(["--ip".to_owned(), container.address.to_string()]);
        words.extend(["--env", "PHASE_NO_MDNS=1", "--log-driver", "none", "--stop-timeout", "10"].map(str::to_owned));
        words.extend(["--sysctl".to_owned(), format!("net.ipv4.tcp_congestion_control={CONGESTION_CONTROL}")]);
        // A relay's packets have other routes than those that come in: that is no forgery.
        for interfaces in ["all", "default"] {
            words.extend(["--sysctl".to_owned(), format!("net.ipv4.conf.{interfaces}.rp_filter=0")]);
        }
        for (folder, inside, is_fixed) in &container.mounts {
            let mode = if *is_fixed { ":ro" } else { "" };
            words.extend(["--volume".to_owned(), format!("{}:{inside}{mode}", folder.display())]);
        }
        words.extend(self.labels());
        words.push(image.to_owned());
        words.extend(container.command.iter().cloned());
        docker(&words).map(drop)
    }

    fn labels(&self) -> [String; 4] {
        let label = || "--label".to_owned();
        [label(), format!("{LABEL}={}", self.id), label(), format!("{OWNER}={}", self.owner)]
    }
}

/// Does one thing to containers: `start`, `kill`, `stop`, `pause`, `unpause`.
pub(crate) fn on_containers(verb: &[&str], names: &[String]) -> Result<(), LabError> {
    if names.is_empty() {
        return Ok(());
    }
    let names = names.iter().map(String::as_str);
    docker(&verb.iter().copied().chain(names).collect::<Vec<_>>()).map(drop)
}

/// The process ids of containers, in order; 0 for one that does not run.
pub(crate) fn pids(names: &[String]) -> Result<Vec<u32>, LabError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut words = vec!["inspect", "--format", "{{.State.Pid}}"];
    words.extend(names.iter().map(String::as_str));
    Ok(docker(&words)?.lines().map(|line| line.trim().parse().unwrap_or(0)).collect())
}

/// A run that has something left: its id, its owner, and its folder if that is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Trace {
    pub(crate) id: String,
    pub(crate) owner: String,
    pub(crate) folder: Option<PathBuf>,
}

/// Every run of which there is something.
pub(crate) fn traces() -> Result<Vec<Trace>, LabError> {
    let format = format!("{{{{.Label \"{LABEL}\"}}}}\t{{{{.Label \"{OWNER}\"}}}}\t{{{{.Label \"{FOLDER}\"}}}}");
    let filter = format!("label={LABEL}");
    // Networks first: they name the folder.
    let networks = docker(&["network", "ls", "--filter", &filter, "--format", &format])?;
    let containers = docker(&["ps", "--all", "--filter", &filter, "--format", &format])?;
    let images = docker(&["images", "--filter", &filter, "--quiet"])?;
    let mut lines: Vec<String> = networks.lines().chain(containers.lines()).map(str::to_owned).collect();
    for image in images.lines() {
        let format = format!("{{{{index .Config.Labels \"{LABEL}\"}}}}\t{{{{index .Config.Labels \"{OWNER}\"}}}}\t");
        lines.push(docker(&["image", "inspect", "--format", &format, image])?);
    }
    let mut traces: Vec<Trace> = Vec::new();
    for line in lines {
        let mut words = line.split('\t');
        let (Some(id), Some(owner)) = (words.next(), words.next()) else { continue };
        let folder = words.next().filter(|folder| !folder.is_empty()).map(PathBuf::from);
        match traces.iter_mut().find(|trace| trace.id == id) {
            Some(trace) => trace.folder = trace.folder.take().or(folder),
            None => traces.push(Trace { id: id.to_owned(), owner: owner.to_owned(), folder }),
        }
    }
    Ok(traces)
}

/// Removes every container, network and image of a run. What is not there any more is no failure.
pub(crate) fn remove_all(id: &str) -> Result<(), LabError> {
    let filter = format!("label={LABEL}={id}");
    let kinds: [(&[&str], &[&str]); 3] = [
        (&["ps", "--all"], &["rm", "--force", "--volumes"]),
        (&["network", "ls"], &["network", "rm"]),
        (&["images"], &["rmi", "--force"]),
    ];
    let mut result = Ok(());
    for (list, remove) in kinds {
        let mut words = list.to_vec();
        words.extend(["--quiet", "--filter", &filter]);
        let listed = docker(&words)?;
        if listed.is_empty() {
            continue;
        }
        let removed = docker(&remove.iter().copied().chain(listed.lines()).collect::<Vec<_>>());
        // Somebody else may remove it at the same time: only what stays is a failure.
        if let Err(error) = removed
            && !docker(&words)?.is_empty()
        {
            result = Err(error);
        }
    }
    result
}

fn docker<S: AsRef<OsStr>>(words: &[S]) -> Result<String, LabError> {
    command("docker", words)
}
