//! The files of scenarios: written, and read again.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::pages::{index, picture_file, summary};
use super::pictures::Picture;
use super::record::{Record, VERSION};

/// All that was measured.
pub const REPORT: &str = "report.json";
/// The same for people.
pub const SUMMARY: &str = "summary.md";
/// All scenarios.
pub const INDEX: &str = "index.html";
/// The most bytes of a report. 200 clients, looked at twice a second for five minutes, need about half of it.
const MAX_REPORT: u64 = 64 << 20;
/// The most directories with a report: a page with more is no overview.
const MAX_SCENARIOS: usize = 500;

/// The directory of a scenario, with what its report says.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Relative to the directory of the index.
    pub dir: PathBuf,
    /// What was measured.
    pub record: Record,
}

/// Files could not be written or read. Others may have been written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file or directory could not be written.
    #[error("cannot write {0}: {1}")]
    Write(PathBuf, #[source] io::Error),
    /// A file or directory could not be read.
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, #[source] io::Error),
    /// A report is larger than any run makes it.
    #[error("{0} has more than {max} MiB, so it is no report: remove its directory", max = MAX_REPORT >> 20)]
    TooLarge(PathBuf),
    /// There are more reports than one page has room for.
    #[error("{0} has more than {MAX_SCENARIOS} directories with a report: move some elsewhere")]
    TooMany(PathBuf),
    /// A report does not have the form of one.
    #[error("{0} is no report ({1}): run the scenario again, or remove its directory")]
    NotAReport(PathBuf, #[source] serde_json::Error),
    /// A report is of another version.
    #[error(
        "{0} has version {1}, and only version {VERSION} is understood: run the scenario again, or remove its directory"
    )]
    Version(PathBuf, u64),
}

/// Writes report, summary and pictures of a scenario to its directory, which is made if it is missing.
///
/// # Errors
/// If a file cannot be written. The report is written first.
pub fn write(dir: &Path, record: &Record) -> Result<(), FolderError> {
    fs::create_dir_all(dir).map_err(|source| FolderError::Write(dir.to_owned(), source))?;
    let json = serde_json::to_string_pretty(record).expect("figures and text have a JSON form");
    write_whole(&dir.join(REPORT), &json)?;
    for (number, run) in record.runs.iter().enumerate() {
        for picture in Picture::ALL {
            let path = dir.join(picture_file(record, number, picture));
            fs::write(&path, picture.draw(record, run)).map_err(|source| FolderError::Write(path, source))?;
        }
    }
    write_whole(&dir.join(SUMMARY), &summary(record, REPORT))
}

/// Writes the page of all scenarios, for instance of those that [`read_all`] found below the same directory.
///
/// # Errors
/// If it cannot be written.
pub fn write_index(dir: &Path, scenarios: &[Scenario]) -> Result<(), FolderError> {
    let named: Vec<_> = scenarios.iter().map(|one| (one.dir.to_string_lossy().into_owned(), &one.record)).collect();
    write_whole(&dir.join(INDEX), &index(&named, SUMMARY, REPORT))
}

/// Writes a file so that it is there as a whole or not at all.
fn write_whole(path: &Path, text: &str) -> Result<(), FolderError> {
    let unfinished = path.with_extension("unfinished");
    let written = fs::write(&unfinished, text).and_then(|()| fs::rename(&unfinished, path));
    written.map_err(|source| FolderError::Write(path.to_owned(), source))
}

/// All reports one level below a directory, sorted by the names of their directories. Directories without a report do
/// not count.
///
/// # Errors
/// If a report cannot be read, is too large, is of another version or is none at all.
pub fn read_all(dir: &Path) -> Result<Vec<Scenario>, FolderError> {
    let cannot_read = |source| FolderError::Read(dir.to_owned(), source);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(cannot_read)? {
        let name = entry.map_err(cannot_read)?.file_name();
        if dir.join(&name).join(REPORT).is_file() {
            names.push(name);
        }
        if names.len() > MAX_SCENARIOS {
            return Err(FolderError::TooMany(dir.to_owned()));
        }
    }
    names.sort();
    let read = |name| Ok(Scenario { record: read(&dir.join(&name).join(REPORT))?, dir: PathBuf::from(name) });
    names.into_iter().map(read).collect()
}

fn read(path: &Path) -> Result<Record, FolderError> {
    /// What is read first: the rest may have another form.
    #[derive(Deserialize)]
    struct Versioned {
        version: u64,
    }

    let cannot_read = |source| FolderError::Read(path.to_owned(), source);
    let mut json = Vec::new();
    let file = File::open(path).map_err(cannot_read)?;
    file.take(MAX_REPORT + 1).read_to_end(&mut json).map_err(cannot_read)?;
    if json.len() as u64 > MAX_REPORT {
        return Err(FolderError::TooLarge(path.to_owned()));
    }
    let not_a_report = |source| FolderError::NotAReport(path.to_owned(), source);
    let Versioned { version } = serde_json::from_slice(&json).map_err(not_a_report)?;
    if version != u64::from(VERSION) {
        return Err(FolderError::Version(path.to_owned(), version));
    }
    serde_json::from_slice(&json).map_err(not_a_report)
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::super::record::Prediction;
    use super::*;

    fn files(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_scenario_gets_its_files_and_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("new");
        for record in [example::one(), example::crowd(), example::one()] {
            write(&root.join(&record.scenario), &record).unwrap();
        }
        // Two runs, whose names do not lead out of the directory.
        let mut hostile = example::hostile_names();
        hostile.runs.push(hostile.runs[0].clone());
        write(&root.join("x"), &hostile).unwrap();
        // Other files and directories are passed over.
        fs::create_dir(root.join("empty")).unwrap();
        let scenarios = read_all(&root).unwrap();
        write_index(&root, &scenarios).unwrap();
        assert_eq!(files(&root), ["crowd", "empty", "failover", "index.html", "x"]);
        assert_eq!((files(dir.path()), files(&root.join("x")).len()), (vec!["new".to_owned()], 12));
        let expected = [
            "completion.svg",
            "duplicates.svg",
            "report.json",
            "sources.svg",
            "summary.md",
            "throughput.svg",
            "usage.svg",
        ];
        assert_eq!(files(&root.join("failover")), expected);
        // Not assert_eq: it would print whole records.
        let [crowd, one, x] = scenarios.as_slice() else { panic!("{} scenarios", scenarios.len()) };
        assert!(crowd.record == example::crowd() && one.record == example::one() && x.record == hostile);
    }

    #[test]
    fn the_form_of_a_report_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = example::one();
        let run = &mut record.runs[0];
        run.simulated = Some(Prediction { p50: 1.0, p99: 2.0, last: 3.0 });
        run.phase.nodes.truncate(1);
        run.phase.nodes[0].samples.truncate(2);
        run.phase.clients[0].progress.truncate(2);
        write(dir.path(), &record).unwrap();
        let written = fs::read_to_string(dir.path().join(REPORT)).unwrap();
        assert_eq!(written + "\n", include_str!("report.json"));
    }

    #[test]
    fn what_is_no_report_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let report = dir.path().join("crowd").join(REPORT);
        fs::create_dir(dir.path().join("crowd")).unwrap();
        let refused = |json: &str| {
            fs::write(&report, json).unwrap();
            read_all(dir.path()).unwrap_err().to_string()
        };
        let other = refused("{\"version\": 2, \"form\": \"another\"}");
        for part in ["report.json", "version 2", "version 1", "run the scenario again"] {
            assert!(other.contains(part), "{part:?} is not in {other}");
        }
        for json in ["", "[]", "{\"version\": 1}", "{\"version\": -1}", "not JSON"] {
            let error = refused(json);
            assert!(error.contains("report.json") && error.contains("is no report"), "{error}");
        }
        // A hole: nothing is written.
        File::create(&report).unwrap().set_len(MAX_REPORT + 1).unwrap();
        assert!(read_all(dir.path()).unwrap_err().to_string().contains("more than 64 MiB"));
    }

    #[test]
    fn what_cannot_be_written_or_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = write(&file, &example::one()).unwrap_err().to_string();
        assert!(error.starts_with("cannot write") && error.contains("file"), "{error}");
        let error = read_all(Path::new("/nowhere/at/all")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all"), "{error}");
    }
}
