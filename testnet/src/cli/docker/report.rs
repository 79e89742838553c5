//! `phase-testnet report`: the pages once more, from what was measured.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use phase_report::lab::{self as pages, INDEX};

use super::{BROKEN, Failure, HELD, UNUSABLE, end};

/// Make summaries, pictures and index.html again from every report.json in a folder, and print the table.
#[derive(Args)]
pub(crate) struct Report {
    /// The folder, as `run --out` wrote it.
    #[arg(value_name = "DIR", default_value = "testnet-report")]
    dir: PathBuf,
}

impl Report {
    pub(crate) fn run(&self) -> ExitCode {
        end(self.write())
    }

    fn write(&self) -> Result<u8, Failure> {
        let all = pages::read_all(&self.dir).map_err(Failure::of)?;
        if all.is_empty() {
            let text = format!("{} has no folder with a report.json: run scenarios first", self.dir.display());
            return Err(Failure { code: UNUSABLE, text });
        }
        for page in &all {
            pages::write(&self.dir.join(&page.dir), &page.record).map_err(Failure::of)?;
            crate::cli::print(&pages::overview(&page.record)).map_err(|text| Failure { code: UNUSABLE, text })?;
        }
        pages::write_index(&self.dir, &all).map_err(Failure::of)?;
        eprintln!("report: {}", self.dir.join(INDEX).display());
        Ok(if all.iter().all(|page| page.record.held()) { HELD } else { BROKEN })
    }
}
