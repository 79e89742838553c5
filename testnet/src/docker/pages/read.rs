//! Reports of earlier runs.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;

use super::{Page, PageError, REPORT};
use crate::docker::record::{Record, VERSION};

/// The most bytes of a report. 200 clients, looked at twice a second for five minutes, need about half of it.
pub(super) const MAX_REPORT: u64 = 64 << 20;
/// The most directories with a report: a page with more is no overview.
pub(super) const MAX_PAGES: usize = 500;

/// The first that is read of a report: the rest may have another form.
#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

/// All reports one level below a directory, sorted by the names of their directories.
pub(super) fn all(dir: &Path) -> Result<Vec<Page>, PageError> {
    let cannot_read = |source| PageError::Read { path: dir.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(cannot_read)? {
        let name = entry.map_err(cannot_read)?.file_name();
        if dir.join(&name).join(REPORT).is_file() {
            names.push(name);
        }
        if names.len() > MAX_PAGES {
            return Err(PageError::TooMany { path: dir.to_owned() });
        }
    }
    names.sort();
    names.into_iter().map(|name| Ok(Page { record: one(&dir.join(&name).join(REPORT))?, dir: name.into() })).collect()
}

fn one(path: &Path) -> Result<Record, PageError> {
    let cannot_read = |source| PageError::Read { path: path.to_owned(), source };
    let mut json = Vec::new();
    let file = File::open(path).map_err(cannot_read)?;
    file.take(MAX_REPORT + 1).read_to_end(&mut json).map_err(cannot_read)?;
    if json.len() as u64 > MAX_REPORT {
        return Err(PageError::TooLarge { path: path.to_owned() });
    }
    let not_a_report = |source| PageError::NotAReport { path: path.to_owned(), source };
    let Versioned { version } = serde_json::from_slice(&json).map_err(not_a_report)?;
    if version != u64::from(VERSION) {
        return Err(PageError::Version { path: path.to_owned(), version });
    }
    serde_json::from_slice(&json).map_err(not_a_report)
}

#[cfg(test)]
mod tests {
    use super::super::{example, write};
    use super::*;

    /// What reading says of a report with this text.
    fn refused(json: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("crowd")).unwrap();
        fs::write(dir.path().join("crowd").join(REPORT), json).unwrap();
        all(dir.path()).unwrap_err().to_string()
    }

    #[test]
    fn what_was_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        for record in [example::one(), example::crowd()] {
            write(&dir.path().join(&record.scenario), &record).unwrap();
        }
        // Other files and directories are none of its business.
        fs::create_dir(dir.path().join("empty")).unwrap();
        fs::write(dir.path().join("index.html"), "").unwrap();
        let pages = all(dir.path()).unwrap();
        let names: Vec<_> = pages.iter().map(|page| page.dir.to_str().unwrap()).collect();
        assert_eq!(names, ["crowd", "failover"]);
        // Not assert_eq: what it prints of a record fills screens.
        assert!(pages[0].record == example::crowd() && pages[1].record == example::one());
    }

    #[test]
    fn other_versions_are_refused_with_what_to_do() {
        let error = refused("{\"version\": 2, \"form\": \"another\"}");
        for part in ["report.json", "version 2", "version 1", "run the scenario again"] {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
    }

    #[test]
    fn what_is_no_report_is_refused_by_name() {
        for json in ["", "[]", "{\"version\": 1}", "{\"version\": -1}", "not JSON"] {
            let error = refused(json);
            assert!(error.contains("report.json") && error.contains("is no report"), "{error}");
        }
        let error = all(Path::new("/nowhere/at/all")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all"), "{error}");
    }

    #[test]
    fn a_report_without_end_is_not_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(REPORT);
        // A hole: nothing is written.
        File::create(&path).unwrap().set_len(MAX_REPORT + 1).unwrap();
        let error = one(&path).unwrap_err().to_string();
        assert!(error.contains("more than 64 MiB"), "{error}");
    }
}
