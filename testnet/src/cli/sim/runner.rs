//! Runs many simulations on a few threads.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use phase_report::swarm::Run;
use phase_scenario::{Scenario, Variant};
use phase_sim::{Progress, run};

use crate::cli::show;

/// The maximum number of simulations at the same time, because a swarm of 10,000 nodes takes some gigabytes of RAM.
const MAX_THREADS: usize = 2;
/// The capacity of the channel for messages from the simulation threads. While it is full, progress messages are
/// dropped.
const MAX_MESSAGES: usize = 16;
/// The minimum time between two progress messages from one simulation.
const SHOW_EVERY: Duration = Duration::from_millis(200);
/// The longest progress line, in characters. A longer line would wrap in a terminal, and could not be overwritten.
const MAX_LINE: usize = 79;

/// A simulation of one scenario, in one of its variants.
pub(super) struct Job {
    pub(super) label: String,
    pub(super) variant: Variant,
    pub(super) scenario: Scenario,
}

enum Message {
    Progress(usize, Progress),
    Finished(usize, Box<Run>),
}

/// Runs all jobs. Calls `finished` for each job, in the order of `jobs`, as soon as this job and all jobs before it
/// have ended.
pub(super) fn run_all(jobs: &[Job], check: bool, mut finished: impl FnMut(usize, Run)) {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS).min(jobs.len());
    let next = AtomicUsize::new(0);
    let (sender, messages) = sync_channel(MAX_MESSAGES);
    thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let number = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(job) = jobs.get(number)
                {
                    let run = job.run(check, |progress| drop(sender.try_send(Message::Progress(number, progress))));
                    if sender.send(Message::Finished(number, Box::new(run))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let (mut running, mut waiting, mut due) = (BTreeMap::new(), BTreeMap::new(), 0);
        for message in messages {
            match message {
                Message::Progress(number, progress) => {
                    running.insert(number, progress);
                }
                Message::Finished(number, run) => {
                    running.remove(&number);
                    waiting.insert(number, run);
                    while let Some(run) = waiting.remove(&due) {
                        finished(due, *run);
                        due += 1;
                    }
                }
            }
            show(&progress_line(jobs, due + waiting.len(), &running));
        }
        show("");
    });
}

impl Job {
    /// Whether the job runs the whole scenario, rather than a variant for comparison.
    pub(super) fn is_whole(&self) -> bool {
        self.variant == Variant::Whole
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "measures the real time of a run, and limits how often progress is shown"
    )]
    fn run(&self, check: bool, mut send: impl FnMut(Progress)) -> Run {
        let started = Instant::now();
        let (is_watched, mut last_sent) = (std::io::stderr().is_terminal(), started);
        let mut watch = |progress| {
            if is_watched && last_sent.elapsed() >= SHOW_EVERY {
                last_sent = Instant::now();
                send(progress);
            }
        };
        let result = catch_unwind(AssertUnwindSafe(|| run(&self.scenario, check, &mut watch)));
        let result = match result {
            Ok(Ok(report)) => Ok(report),
            Ok(Err(error)) => Err(error.to_string()),
            Err(panic) => Err(panic_message(panic.as_ref())),
        };
        let (label, seed, variant) = (self.label.clone(), self.scenario.rng_seed, self.variant);
        Run { label, seed, variant, result, wall: started.elapsed() }
    }
}

/// Returns the message of a panic.
fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("panic without a message").replace('\n', " ")
}

/// Returns the progress line: the number of finished runs, and the progress of the first run that is not finished.
fn progress_line(jobs: &[Job], finished_runs: usize, running: &BTreeMap<usize, Progress>) -> String {
    let mut line = format!("{finished_runs} of {} runs finished", jobs.len());
    if let Some((number, progress)) = running.first_key_value() {
        let Progress { now, finished, clients, events } = progress;
        let (label, at, events) = (&jobs[*number].label, now.as_secs_f64(), *events as f64 / 1e6);
        line += &format!("; {label}: {finished} of {clients} clients at {at:.2} s, {events:.1}M events");
    }
    line.chars().take(MAX_LINE).collect()
}
