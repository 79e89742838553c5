//! What a scenario showed, for people: a summary and pictures of each run, and one page of all scenarios.
//!
//! ```text
//! Record ──► write ──► <dir>/report.json      all that was measured
//!                      <dir>/summary.md       tables
//!                      <dir>/completion.svg … five pictures of each run
//!
//! <dir>/*/report.json ──► read_all ──► write_index ──► <dir>/index.html
//! ```
//!
//! Names in a record come from files that anybody may have written: on every page they are text and nothing else.

#[cfg(test)]
mod example;
mod figures;
mod html;
mod markdown;
mod plot;
mod read;
mod units;

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::record::{Record, VERSION};
use plot::Picture;

/// All that was measured.
pub const REPORT: &str = "report.json";
/// The same for people.
pub const SUMMARY: &str = "summary.md";
/// All scenarios.
pub const INDEX: &str = "index.html";
/// The most letters of a label in a file name.
const MAX_LABEL: usize = 80;

/// A scenario directory, with what its report says.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Relative to the directory of the index.
    pub dir: PathBuf,
    /// What was measured.
    pub record: Record,
}

/// Pages could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// A picture could not be drawn, which would be a bug.
    #[error("cannot draw {path}: {cause}")]
    Draw {
        /// The picture.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// A file or directory could not be written. Other files may have been.
    #[error("cannot write {path}: {source}")]
    Write {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or directory could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A report is larger than any run makes it.
    #[error("{path} has more than {} MiB, so it is no report: remove its directory", read::MAX_REPORT >> 20)]
    TooLarge {
        /// The report.
        path: PathBuf,
    },
    /// There are more reports than one page has room for.
    #[error("{path} has more than {} directories with a report: move some elsewhere", read::MAX_PAGES)]
    TooMany {
        /// The directory.
        path: PathBuf,
    },
    /// A report does not have the form of one.
    #[error("{path} is no report ({source}): run the scenario again, or remove its directory")]
    NotAReport {
        /// The report.
        path: PathBuf,
        /// What was not understood.
        #[source]
        source: serde_json::Error,
    },
    /// A report is of another version.
    #[error(
        "{path} has version {version}, and only version {VERSION} is understood: run the scenario again, or remove \
         its directory"
    )]
    Version {
        /// The report.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
}

/// Writes report, summary and pictures of a scenario to its directory, which is made if it is missing.
///
/// # Errors
/// If something cannot be written, or not be drawn, which would be a bug. The report is written first.
pub fn write(dir: &Path, record: &Record) -> Result<(), PageError> {
    fs::create_dir_all(dir).map_err(|source| PageError::Write { path: dir.to_owned(), source })?;
    let json = serde_json::to_string_pretty(record).expect("figures and text have a JSON form");
    write_whole(&dir.join(REPORT), &json)?;
    for (number, run) in record.runs.iter().enumerate() {
        for picture in Picture::ALL {
            let path = dir.join(picture_file(record, number, picture));
            let draw_error =
                |cause: Box<dyn std::error::Error>| PageError::Draw { path: path.clone(), cause: cause.to_string() };
            let svg = picture.draw(record, run).map_err(draw_error)?;
            fs::write(&path, svg).map_err(|source| PageError::Write { path, source })?;
        }
    }
    write_whole(&dir.join(SUMMARY), &markdown::summary(record))
}

/// All reports one level below a directory, sorted by the names of their directories. Directories without a report do
/// not count.
///
/// # Errors
/// If a report cannot be read, is too large, is of another version or is none at all.
pub fn read_all(dir: &Path) -> Result<Vec<Page>, PageError> {
    read::all(dir)
}

/// Writes the page of all scenarios, for instance of those that [`read_all`] found below the same directory.
///
/// # Errors
/// If it cannot be written.
pub fn write_index(dir: &Path, pages: &[Page]) -> Result<(), PageError> {
    write_whole(&dir.join(INDEX), &html::index(pages))
}

/// Writes a file so that it is there as a whole or not at all.
/// The runs of a scenario in lines for a terminal.
pub fn overview(record: &Record) -> String {
    let mut lines = Vec::new();
    for run in &record.runs {
        let row = figures::row(record, run);
        lines.push(format!("{}: {}", row[1], row[figures::VERDICT]));
        let cells = figures::COLUMNS.iter().zip(&row).take(figures::VERDICT).skip(2);
        lines.extend(
            cells.filter(|(_, cell)| *cell != units::MISSING).map(|(name, cell)| format!("  {name:<18}{cell}")),
        );
    }
    lines.join("\n")
}

fn write_whole(path: &Path, text: &str) -> Result<(), PageError> {
    let unfinished = path.with_extension("unfinished");
    let written = fs::write(&unfinished, text).and_then(|()| fs::rename(&unfinished, path));
    written.map_err(|source| PageError::Write { path: path.to_owned(), source })
}

/// The file name of a picture: with the label of the run if there are several, as far as files may be called that.
fn picture_file(record: &Record, number: usize, picture: Picture) -> String {
    let name = picture.name();
    let [_, _, ..] = record.runs.as_slice() else { return format!("{name}.svg") };
    let plain = |label: &str| -> String {
        let letters = label.chars().take(MAX_LABEL);
        letters.map(|letter| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '-' }).collect()
    };
    let label = plain(&record.runs[number].label);
    let same = record.runs[..number].iter().filter(|run| plain(&run.label) == label).count();
    let suffix = if same == 0 { String::new() } else { format!("-again-{same}") };
    format!("{name}-{label}{suffix}.svg")
}

#[cfg(test)]
mod tests {
    use super::super::record::Run;
    use super::*;

    fn files(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_scenario_gets_its_files_and_a_directory_its_index() {
        let dir = tempfile::tempdir().unwrap();
        let scenario = dir.path().join("new").join("failover");
        write(&scenario, &example::one()).unwrap();
        // Once more over it: the second time is as the first.
        write(&scenario, &example::one()).unwrap();
        let expected = [
            "completion.svg",
            "duplicates.svg",
            "report.json",
            "sources.svg",
            "summary.md",
            "throughput.svg",
            "usage.svg",
        ];
        assert_eq!(files(&scenario), expected);
        let root = dir.path().join("new");
        write_index(&root, &read_all(&root).unwrap()).unwrap();
        assert_eq!(files(&root), ["failover", "index.html"]);
    }

    #[test]
    fn pictures_of_several_runs_are_told_apart_and_stay_in_their_directory() {
        let mut record = example::one();
        let run = record.runs[0].clone();
        for label in ["crowd-8", "../up", "../up", "--up"] {
            record.runs.push(Run { label: label.to_owned(), ..run.clone() });
        }
        let names: Vec<_> = (0..5).map(|number| picture_file(&record, number, Picture::Usage)).collect();
        let expected =
            ["usage-failover.svg", "usage-crowd-8.svg", "usage----up.svg", "usage----up-again-1.svg", "usage---up.svg"];
        assert_eq!(names, expected);
    }

    #[test]
    fn hostile_names_do_not_leave_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = example::hostile_names();
        record.runs.push(record.runs[0].clone());
        write(&dir.path().join("x"), &record).unwrap();
        assert_eq!(files(dir.path()), ["x"]);
        assert_eq!(files(&dir.path().join("x")).len(), 12);
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = write(&file, &example::one()).unwrap_err().to_string();
        assert!(error.starts_with("cannot write") && error.contains("file"), "{error}");
    }
}
