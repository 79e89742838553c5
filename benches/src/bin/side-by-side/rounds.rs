//! Runs the rounds of the comparison in the parent process. In one round, each contender fetches the file once. Each
//! fetch has its own pair of processes, and the fetched file is checked.

use std::fs;
use std::path::{Path, PathBuf};

use libp2p::Multiaddr;
use phase_benches::{Result, input, release};
use tempfile::TempDir;

use crate::bare;
use crate::child::{Fetched, Process, Served};
use crate::contender::Contender;
use crate::options::Options;

/// The result of one fetch: one contender in one round.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) round: u32,
    pub(crate) contender: Contender,
    pub(crate) fetched: Fetched,
    pub(crate) served: Served,
}

/// Runs all rounds of the comparison. Calls `report_run` after each fetch.
pub(crate) fn run(options: &Options, mut report_run: impl FnMut(&Run)) -> Result<Vec<Run>> {
    let bench = Bench::prepare(options)?;
    let mut runs = Vec::new();
    for round in 1..=options.rounds {
        for &contender in &options.contenders {
            let run = bench.run(round, contender)?;
            report_run(&run);
            runs.push(run);
        }
    }
    Ok(runs)
}

/// The options, the temporary folder and the served file of all rounds.
struct Bench<'a> {
    options: &'a Options,
    folder: TempDir,
    source: Source,
}

/// The served file, which every contender fetches. It belongs to an artifact in the store that Phase serves, and the
/// bare pipeline serves the same file.
struct Source {
    store: PathBuf,
    file: PathBuf,
    trust_root: PathBuf,
    digest: blake3::Hash,
    pieces: String,
}

impl<'a> Bench<'a> {
    fn prepare(options: &'a Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("phase-bench-").tempdir_in(&options.dir)?;
        eprintln!("publishing {} of random bytes in {}", options.size, folder.path().display());
        let original = folder.path().join("original");
        input::write_noise(&original, options.size.0)?;
        let digest = input::digest(&original)?;
        let (store, trust_root) = (folder.path().join("store"), folder.path().join("root"));
        let file = release::publish(&store, std::slice::from_ref(&original), &trust_root)?.remove(0);
        fs::remove_file(&original)?;
        let pieces = bare::digest_of_pieces(&file)?;
        Ok(Self { options, folder, source: Source { store, file, trust_root, digest, pieces } })
    }

    /// Makes one fetch with a new serving process and a new fetching process.
    fn run(&self, round: u32, contender: Contender) -> Result<Run> {
        let mut server = self.serve(contender)?;
        let address: Multiaddr = server.answer()?;
        let target = self.folder.path().join("fetched");
        let mut fetching = self.fetch(contender, &address, &target)?;
        let fetched: Fetched = fetching.answer()?;
        let served = server.end()?;
        self.check(contender, &fetched)?;
        if target.is_dir() {
            fs::remove_dir_all(&target)?
        } else {
            fs::remove_file(&target)?
        }
        Ok(Run { round, contender, fetched, served })
    }

    fn serve(&self, contender: Contender) -> Result<Process> {
        let transport = self.options.transport.argument().as_ref();
        let Source { store, file, .. } = &self.source;
        match contender {
            Contender::Bare(_) => {
                let contender = contender.argument();
                Process::start(&["serve-bare".as_ref(), transport, contender.as_ref(), file.as_ref()])
            }
            Contender::Phase => Process::start(&["serve-phase".as_ref(), transport, store.as_ref()]),
        }
    }

    fn fetch(&self, contender: Contender, address: &Multiaddr, target: &Path) -> Result<Process> {
        let transport = self.options.transport.argument().as_ref();
        let (address, size) = (address.to_string(), self.options.size.0.to_string());
        let (address, size, target) = (address.as_ref(), size.as_ref(), target.as_ref());
        match contender {
            Contender::Bare(_) => {
                let contender = contender.argument();
                Process::start(&["fetch-bare".as_ref(), transport, contender.as_ref(), address, target, size])
            }
            Contender::Phase => {
                let memory = format!("--memory={}", self.options.memory);
                let trust_root = self.source.trust_root.as_ref();
                Process::start(&["fetch-phase".as_ref(), transport, address, target, trust_root, memory.as_ref()])
            }
        }
    }

    /// Compares the fetched file with the served file.
    fn check(&self, contender: Contender, fetched: &Fetched) -> Result<()> {
        let Fetched { file, pieces, .. } = fetched;
        if input::digest(file)? != self.source.digest {
            return Err(format!("wrong result: the file that {contender} fetched differs from the served one").into());
        }
        if pieces.as_ref().is_some_and(|pieces| *pieces != self.source.pieces) {
            return Err(format!("wrong result: the hashes by {contender} differ from those of the file").into());
        }
        Ok(())
    }
}
