//! Controls the Docker engine with the `docker` command, so that a person can repeat every step by hand.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::LabError;

/// The Docker label of every container, network and image that a run creates. Its value is the id of the run.
pub(crate) const LABEL: &str = "phase.testnet";
/// The Docker label that names the owner of a run. Its value identifies the process that executes the run, or is
/// [`KEPT`].
pub(crate) const OWNER: &str = "phase.testnet.owner";
/// The value of the label [`OWNER`] for a run that stays until `phase-testnet down` removes it.
pub(crate) const KEPT: &str = "kept";
/// The Docker label that names the folder of a run. Only the network of the run has this label.
pub(crate) const FOLDER: &str = "phase.testnet.folder";

/// The algorithm of TCP congestion control in containers. The kernel's default differs between machines, so the lab
/// fixes the algorithm. TCP then reacts to losses in the same way everywhere. Every kernel has `reno` and permits it in
/// containers.
const CONGESTION_CONTROL: &str = "reno";

/// Runs a command until it exits and returns its standard output. The command has its own process group, so that Ctrl-C
/// in the terminal does not interrupt it.
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
    let printed = format!("{} {}", text(&output.stderr), text(&output.stdout));
    let printed = if printed.trim().is_empty() { output.status.to_string() } else { printed.trim().to_owned() };
    Err(LabError::Failed { command: format!("{program} {}", arguments.join(" ")), output: printed })
}

/// The parameters of a new container.
pub(crate) struct Container<'a> {
    pub(crate) name: &'a str,
    pub(crate) address: Ipv4Addr,
    /// Mounted folders: the folder on this machine, its path in the container, and whether it is read-only there.
    pub(crate) mounts: Vec<(PathBuf, &'static str, bool)>,
    pub(crate) command: Vec<String>,
}

/// Creates images, networks and containers with the labels of one run.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    /// The id of the run.
    pub(crate) id: String,
    /// The value of the label [`OWNER`].
    pub(crate) owner: String,
}

impl Engine {
    /// Returns the engine's version.
    pub(crate) fn version() -> Result<String, LabError> {
        docker(&["version", "--format", "{{.Server.Version}}"])
    }

    /// Builds a Docker image from a folder that contains a Dockerfile. Returns the image's name.
    pub(crate) fn build(&self, context: &Path) -> Result<String, LabError> {
        let image = format!("phase-testnet:{}", self.id);
        let mut words = vec!["build".to_owned(), "--quiet".to_owned(), "--tag".to_owned(), image.clone()];
        words.extend(self.labels());
        words.push(context.display().to_string());
        docker(&words)?;
        Ok(image)
    }

    /// Creates a Docker network with this subnet, and labels it with the run's folder. Returns the network's name.
    pub(crate) fn create_network(&self, subnet: &str, folder: &Path) -> Result<String, LabError> {
        let name = format!("phase-testnet-{}", self.id);
        let mut words = vec!["network".to_owned(), "create".to_owned(), "--subnet".to_owned(), subnet.to_owned()];
        words.extend(self.labels());
        words.extend(["--label".to_owned(), format!("{FOLDER}={}", folder.display()), name.clone()]);
        docker(&words)?;
        Ok(name)
    }

    /// Creates a container from an image in a Docker network, without starting it.
    pub(crate) fn create(&self, image: &str, network: &str, container: &Container<'_>) -> Result<(), LabError> {
        let mut words: Vec<String> =
            ["create", "--name", container.name, "--network", network].map(str::to_owned).into();
        words.extend(["--ip".to_owned(), container.address.to_string()]);
        words.extend(["--env", "PHASE_NO_MDNS=1", "--log-driver", "none", "--stop-timeout", "10"].map(str::to_owned));
        words.extend(["--sysctl".to_owned(), format!("net.ipv4.tcp_congestion_control={CONGESTION_CONTROL}")]);
        // A container with a relay receives packets on eth0, but sends them through the relay's device. The kernel's
        // reverse path filter would therefore drop the received packets as forged.
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

/// Runs one `docker` subcommand (such as `start`, `kill`, `stop`, `pause`, `unpause`) on containers.
pub(crate) fn on_containers(verb: &[&str], names: &[String]) -> Result<(), LabError> {
    if names.is_empty() {
        return Ok(());
    }
    let names = names.iter().map(String::as_str);
    docker(&verb.iter().copied().chain(names).collect::<Vec<_>>()).map(drop)
}

/// Returns the process id of each container, in the order of `names`; 0 if the container is not running.
pub(crate) fn pids(names: &[String]) -> Result<Vec<u32>, LabError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut words = vec!["inspect", "--format", "{{.State.Pid}}"];
    words.extend(names.iter().map(String::as_str));
    Ok(docker(&words)?.lines().map(|line| line.trim().parse().unwrap_or(0)).collect())
}

/// A run that still has containers, networks or images.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FoundRun {
    pub(crate) id: String,
    pub(crate) owner: String,
    /// The folder of the run; `None` if the run's network is gone, because only networks have the label [`FOLDER`].
    pub(crate) folder: Option<PathBuf>,
}

/// Finds every run that still has containers, networks or images.
pub(crate) fn find_runs() -> Result<Vec<FoundRun>, LabError> {
    let format = format!("{{{{.Label \"{LABEL}\"}}}}\t{{{{.Label \"{OWNER}\"}}}}\t{{{{.Label \"{FOLDER}\"}}}}");
    let filter = format!("label={LABEL}");
    let networks = docker(&["network", "ls", "--filter", &filter, "--format", &format])?;
    let containers = docker(&["ps", "--all", "--filter", &filter, "--format", &format])?;
    let images = docker(&["images", "--filter", &filter, "--quiet"])?;
    let mut lines: Vec<String> = networks.lines().chain(containers.lines()).map(str::to_owned).collect();
    for image in images.lines() {
        let format = format!("{{{{index .Config.Labels \"{LABEL}\"}}}}\t{{{{index .Config.Labels \"{OWNER}\"}}}}\t");
        lines.push(docker(&["image", "inspect", "--format", &format, image])?);
    }
    let mut runs: Vec<FoundRun> = Vec::new();
    for line in lines {
        let mut words = line.split('\t');
        let (Some(id), Some(owner)) = (words.next(), words.next()) else { continue };
        let folder = words.next().filter(|folder| !folder.is_empty()).map(PathBuf::from);
        match runs.iter_mut().find(|run| run.id == id) {
            Some(run) => run.folder = run.folder.take().or(folder),
            None => runs.push(FoundRun { id: id.to_owned(), owner: owner.to_owned(), folder }),
        }
    }
    Ok(runs)
}

/// Removes every container, network and image of a run. It is no error if some of them are gone already.
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
        // Another process may remove parts of the run at the same time, so a failed removal is an error only if
        // something is left.
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
