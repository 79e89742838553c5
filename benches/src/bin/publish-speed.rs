//! Compares the speed of publishing a file with the speed of FastCDC alone, because publishing cannot avoid cutting the
//! file into chunks.
//!
//! Each round processes the same file with the same parameters in four ways: with the streaming interface of FastCDC's
//! crate, with FastCDC over the file in memory, and with [`Store::import`] by copy and by reference. An import cuts the
//! file, hashes it twice (BLAKE3 of each chunk, SHA-256 of the whole file) and writes the artifact into the store.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use fastcdc::v2020::{FastCDC, StreamCDC};
use phase_benches::measure::{Stopwatch, Taken, peak_memory, reset_peak_memory};
use phase_benches::stats::{median, mib_per_second, range};
use phase_benches::{Result, chain, input};
use phase_core::chunker::ChunkerParams;
use phase_core::import::{ImportMode, ImportOptions};
use phase_core::store::{FileStore, Store};
use phase_report::table::Table;
use phase_units::{Size, parse_size};
use serde_json::{Value, json};

/// Import one file into a store, cut the same file with FastCDC alone, and print the ratio of the two speeds.
#[derive(Parser)]
#[command(name = "publish-speed")]
struct Options {
    /// Number of times that each contender processes the file.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Size of the file, for example 1GiB or 256MiB.
    #[arg(long, default_value = "1GiB", value_parser = parse_size)]
    size: Size,
    /// Folder for the file and the store. Needs free space of twice the size. Should be a tmpfs, because a disk would
    /// limit the speed.
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// A contender: one way to cut or import the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contender {
    Streamed,
    InMemory,
    Copied,
    Referenced,
}

impl Contender {
    const ALL: [Self; 4] = [Self::Streamed, Self::InMemory, Self::Copied, Self::Referenced];

    fn name(self) -> &'static str {
        match self {
            Self::Streamed => "FastCDC alone, file",
            Self::InMemory => "FastCDC alone, memory",
            Self::Copied => "import, copy",
            Self::Referenced => "import, reference",
        }
    }
}

/// The result of one contender in one round.
struct Run {
    round: u32,
    contender: Contender,
    taken: Taken,
    /// The lengths of the chunks that the contender found.
    chunks: Vec<usize>,
    peak_memory: u64,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("publish-speed: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("phase-bench-").tempdir_in(&options.dir)?;
    let file = folder.path().join("noise");
    eprintln!("writing {} of random bytes to {}", options.size, file.display());
    input::write_noise(&file, options.size.0)?;
    let mut runs = Vec::new();
    for round in 1..=options.rounds {
        for contender in Contender::ALL {
            let run = measure(round, contender, &file, &folder.path().join("store"))?;
            let rate = mib_per_second(options.size.0, run.taken.seconds);
            eprintln!("round {round}: {:<21}  {:6.3} s  {rate:6.0} MiB/s", contender.name(), run.taken.seconds);
            runs.push(run);
        }
    }
    if runs.iter().any(|run| run.chunks != runs[0].chunks) {
        return Err("wrong result: the contenders found different chunks".into());
    }
    print(options, &runs);
    Ok(())
}

fn measure(round: u32, contender: Contender, file: &Path, store: &Path) -> Result<Run> {
    let memory = if contender == Contender::InMemory { fs::read(file)? } else { Vec::new() };
    reset_peak_memory()?;
    let watch = Stopwatch::start()?;
    let chunks = match contender {
        Contender::Streamed => stream(file)?,
        Contender::InMemory => cut(&memory),
        Contender::Copied => import(file, store, ImportMode::Copy)?,
        Contender::Referenced => import(file, store, ImportMode::Reference)?,
    };
    let run = Run { round, contender, taken: watch.stop()?, chunks, peak_memory: peak_memory()? };
    if store.exists() {
        fs::remove_dir_all(store)?;
    }
    Ok(run)
}

fn sizes() -> [usize; 3] {
    let params = ChunkerParams::default();
    [params.min(), params.avg(), params.max()].map(|size| size as usize)
}

/// Cuts a file with the streaming interface of FastCDC's crate.
fn stream(file: &Path) -> Result<Vec<usize>> {
    let [min, avg, max] = sizes();
    StreamCDC::new(File::open(file)?, min, avg, max).map(|chunk| Ok(chunk?.length)).collect()
}

fn cut(bytes: &[u8]) -> Vec<usize> {
    let [min, avg, max] = sizes();
    FastCDC::new(bytes, min, avg, max).map(|chunk| chunk.length).collect()
}

fn import(file: &Path, store: &Path, mode: ImportMode) -> Result<Vec<usize>> {
    let store = FileStore::open(store)?;
    let options = ImportOptions::default().with_mode(mode);
    let artifact = store.import(file, &options, &mut |_| {})?;
    Ok(artifact.index().chunks().map(|chunk| chunk.len as usize).collect())
}

fn print(options: &Options, runs: &[Run]) {
    let of = |contender| runs.iter().filter(move |run| run.contender == contender);
    let seconds = |contender| of(contender).map(|run| run.taken.seconds);
    let alone = median(seconds(Contender::Streamed));
    if options.json {
        println!("{:#}", to_json(options, runs, |contender| alone / median(seconds(contender))));
        return;
    }
    let mut table =
        Table::of(["median of rounds", "seconds", "least..most", "MiB/s", "CPU user+sys", "peak MiB", "speed"]);
    for contender in Contender::ALL {
        let middle = median(seconds(contender));
        let (least, most) = range(seconds(contender));
        let user = median(of(contender).map(|run| run.taken.cpu.user));
        let system = median(of(contender).map(|run| run.taken.cpu.system));
        let peak = median(of(contender).map(|run| run.peak_memory as f64)) / f64::from(1 << 20);
        table.row([
            contender.name().to_owned(),
            format!("{middle:.3}"),
            format!("{least:.3}..{most:.3}"),
            format!("{:.0}", mib_per_second(options.size.0, middle)),
            format!("{user:.2}+{system:.2}"),
            format!("{peak:.0}"),
            format!("{:.2}", alone / middle),
        ]);
    }
    println!(
        "\n{} of random bytes, chunks: {}; rounds: {}, contenders in turn, in one process",
        options.size,
        runs[0].chunks.len(),
        options.rounds
    );
    println!("\n{table}");
    println!("speed: relative to {}. Peak: resident memory during the run", Contender::Streamed.name());
    println!("import: read, cut, BLAKE3 per chunk, SHA-256 of the whole, copy, sync, seal, index blocks; new store");
    println!("\nimport / FastCDC alone: {:.2}", alone / median(seconds(Contender::Copied)));
}

fn to_json(options: &Options, runs: &[Run], ratio: impl Fn(Contender) -> f64) -> Value {
    let rounds = runs.iter().map(|run| {
        json!({
            "round": run.round,
            "contender": run.contender.name(),
            "taken": run.taken,
            "peak_memory_bytes": run.peak_memory,
        })
    });
    json!({
        "size": options.size.0,
        "chunks": runs[0].chunks.len(),
        "rounds": rounds.collect::<Vec<_>>(),
        "ratio": ratio(Contender::Copied),
        "ratio_reference": ratio(Contender::Referenced),
        "ratio_memory": ratio(Contender::InMemory),
    })
}
