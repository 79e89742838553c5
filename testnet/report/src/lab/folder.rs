//! Writes the report files of scenarios, and reads them again.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::pages::{index, picture_file, summary};
use super::pictures::Picture;
use super::record::{Record, VERSION};

/// The name of the file with all measurements of a scenario.
pub const REPORT: &str = "report.json";
/// The name of the file with the summary of a scenario for people.
pub const SUMMARY: &str = "summary.md";
/// The name of the page with all scenarios of a directory.
pub const INDEX: &str = "index.html";
/// The maximum size of a report in bytes. A report with 200 clients and two samples per second for five minutes has
/// about half of this size.
const MAX_REPORT: u64 = 64 << 20;
/// The maximum number of directories with a report, because a larger index page would not be readable.
const MAX_SCENARIOS: usize = 500;

/// A scenario on the index page: its directory, and the content of its report.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The directory of the scenario, relative to the directory of the index page.
    pub dir: PathBuf,
    /// The content of `report.json`.
    pub record: Record,
}

/// An error from writing or reading report files. After an error from writing, some of the files may exist.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file or directory could not be written.
    #[error("cannot write {0}: {1}")]
    Write(PathBuf, #[source] io::Error),
    /// A file or directory could not be read.
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, #[source] io::Error),
    /// A report exceeds the maximum size.
    #[error("{0} is larger than {max} MiB, so it is not a report: remove its directory", max = MAX_REPORT >> 20)]
    TooLarge(PathBuf),
    /// A directory has more reports than one page can show.
    #[error("{0} has more than {MAX_SCENARIOS} directories with a report: move some of them elsewhere")]
    TooMany(PathBuf),
    /// A report is not JSON, or does not have the expected keys.
    #[error("{0} is not a report ({1}): run the scenario again, or remove its directory")]
    NotAReport(PathBuf, #[source] serde_json::Error),
    /// A report has an unsupported version.
    #[error(
        "{0} has version {1}, but only version {VERSION} is supported: run the scenario again, or remove its directory"
    )]
    Version(PathBuf, u64),
}

/// Writes the report, the summary and the pictures of a scenario to its directory. Creates the directory if it is
/// missing.
///
/// # Errors
/// If a file cannot be written. The report is written first, because all other files can be made from it again.
pub fn write(dir: &Path, record: &Record) -> Result<(), FolderError> {
    fs::create_dir_all(dir).map_err(|source| FolderError::Write(dir.to_owned(), source))?;
    let json = serde_json::to_string_pretty(record).expect("numbers and texts always have a JSON form");
    write_whole(&dir.join(REPORT), &json)?;
    for (number, run) in record.runs.iter().enumerate() {
        for picture in Picture::ALL {
            let path = dir.join(picture_file(record, number, picture));
            fs::write(&path, picture.draw(record, run)).map_err(|source| FolderError::Write(path, source))?;
        }
    }
    write_whole(&dir.join(SUMMARY), &summary(record, REPORT))
}

/// Writes the index page of a directory. `scenarios` is usually the result of [`read_all`] for the same directory.
///
/// # Errors
/// If the index page cannot be written.
pub fn write_index(dir: &Path, scenarios: &[Scenario]) -> Result<(), FolderError> {
    let named: Vec<_> = scenarios.iter().map(|one| (one.dir.to_string_lossy().into_owned(), &one.record)).collect();
    write_whole(&dir.join(INDEX), &index(&named, SUMMARY, REPORT))
}

/// Writes a file atomically, by writing a temporary file and renaming it.
fn write_whole(path: &Path, text: &str) -> Result<(), FolderError> {
    let unfinished = path.with_extension("unfinished");
    let written = fs::write(&unfinished, text).and_then(|()| fs::rename(&unfinished, path));
    written.map_err(|source| FolderError::Write(path.to_owned(), source))
}

/// Reads all reports one level below a directory, sorted by the names of their directories. Directories without a
/// report are skipped.
///
/// # Errors
/// If there are too many reports, or if a report cannot be read, is too large, has another version or is not a report.
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
    /// The version of a report. It is parsed before the other keys, because it determines which keys there are.
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
    fn the_files_of_a_scenario_are_written_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("new");
        for record in [example::one(), example::crowd(), example::one()] {
            write(&root.join(&record.scenario), &record).unwrap();
        }
        // This record has two runs with ".." in their labels. Their files must stay in the directory.
        let mut hostile = example::hostile_names();
        hostile.runs.push(hostile.runs[0].clone());
        write(&root.join("x"), &hostile).unwrap();
        // A directory without a report is skipped.
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
        // `assert_eq!` is not used, because it would print whole records.
        let [crowd, one, x] = scenarios.as_slice() else { panic!("{} scenarios", scenarios.len()) };
        assert!(crowd.record == example::crowd() && one.record == example::one() && x.record == hostile);
    }

    #[test]
    fn the_json_form_of_a_report_is_stable() {
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
    fn a_file_that_is_not_a_report_is_refused_with_a_hint() {
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
            assert!(error.contains("report.json") && error.contains("is not a report"), "{error}");
        }
        // The file is sparse, so that the test writes almost nothing.
        File::create(&report).unwrap().set_len(MAX_REPORT + 1).unwrap();
        assert!(read_all(dir.path()).unwrap_err().to_string().contains("larger than 64 MiB"));
    }

    #[test]
    fn an_error_names_the_file_that_cannot_be_written_or_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = write(&file, &example::one()).unwrap_err().to_string();
        assert!(error.starts_with("cannot write") && error.contains("file"), "{error}");
        let error = read_all(Path::new("/nowhere/at/all")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all"), "{error}");
    }
}
