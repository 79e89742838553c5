//! Whether clients have what was published.

use std::collections::BTreeMap;

use phase_report::lab::record::ClientRecord;
use phase_scenario::NodeName;

use super::state::{Stage, Way};

/// How many of those who failed are told one by one.
const TOLD: usize = 5;

impl Stage<'_> {
    /// Compares what clients have with what was published, and says which of those that must finish did not, or have
    /// something else.
    pub(super) fn judge_clients(&mut self, broken: &mut Vec<String>) -> Vec<ClientRecord> {
        let mut records = Vec::new();
        for (number, client) in std::mem::take(&mut self.clients).into_iter().enumerate() {
            let node = self.nodes.iter().find(|node| node.name == NodeName::Client(number as u32));
            let node = node.expect("each client has a node");
            let is_done = client.is_done();
            let mut record = client.into_record(&self.names);
            if self.way == Way::Http {
                record.by_source = BTreeMap::from([(
                    "http server".to_owned(),
                    record.progress.last().map_or(0, |last| last.verified),
                )]);
            }
            if is_done {
                record.is_correct = Some(match self.way {
                    Way::Phase => self.release.is_in(&node.store()),
                    Way::Http => self.release.is_among(&node.folder),
                });
            }
            records.push(record);
        }
        let wrong = records.iter().filter(|record| record.is_correct == Some(false));
        broken.extend(wrong.map(|record| format!("{} has another SHA-256 than what was published", record.name)));
        let unfinished: Vec<_> =
            records.iter().filter(|record| record.must_finish && record.finished.is_none()).collect();
        for record in unfinished.iter().take(TOLD) {
            let why = record.error.as_deref().unwrap_or("it was given up");
            broken.push(format!("{} did not finish: {why}", record.name));
        }
        if unfinished.len() > TOLD {
            broken.push(format!("{} more clients did not finish", unfinished.len() - TOLD));
        }
        records
    }
}
