//! Runs many simulations, some at a time.

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

/// Runs at once: a swarm of 10,000 takes some gigabytes.
const MAX_THREADS: usize = 2;
/// Messages from runs that wait to be looked at. Progress that finds no room is not missed.
const MAX_MESSAGES: usize = 16;
/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(200);
/// The longest line of progress, in characters: a longer one would not fit a terminal, and could not be overwritten.
const MAX_LINE: usize = 79;

/// One simulation.
pub(super) struct Job {
    pub(super) label: String,
    pub(super) variant: Variant,
    pub(super) scenario: Scenario,
}

enum Message {
    Progress(usize, Progress),
    Over(usize, Box<Run>),
}

/// Runs all jobs and hands each over, in their order, as soon as it and all before it are over.
pub(super) fn run_all(jobs: &[Job], check: bool, mut over: impl FnMut(usize, Run)) {
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
                    if sender.send(Message::Over(number, Box::new(run))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let (mut under_way, mut waiting, mut due) = (BTreeMap::new(), BTreeMap::new(), 0);
        for message in messages {
            match message {
                Message::Progress(number, progress) => {
                    under_way.insert(number, progress);
                }
                Message::Over(number, run) => {
                    under_way.remove(&number);
                    waiting.insert(number, run);
                    while let Some(run) = waiting.remove(&due) {
                        over(due, *run);
                        due += 1;
                    }
                }
            }
            show(&described(jobs, due + waiting.len(), &under_way));
        }
        show("");
    });
}

impl Job {
    /// Whether it is the scenario as it is, rather than one to compare with.
    pub(super) fn is_whole(&self) -> bool {
        self.variant == Variant::Whole
    }

    #[expect(clippy::disallowed_methods, reason = "how long a run takes in real time, and when to show how far it is")]
    fn run(&self, check: bool, mut tell: impl FnMut(Progress)) -> Run {
        let started = Instant::now();
        let (is_watched, mut told) = (std::io::stderr().is_terminal(), started);
        let mut watch = |progress| {
            if is_watched && told.elapsed() >= SHOW_EVERY {
                told = Instant::now();
                tell(progress);
            }
        };
        let result = catch_unwind(AssertUnwindSafe(|| run(&self.scenario, check, &mut watch)));
        let result = match result {
            Ok(Ok(report)) => Ok(report),
            Ok(Err(error)) => Err(error.to_string()),
            Err(words) => Err(words_of(words.as_ref())),
        };
        let (label, seed, variant) = (self.label.clone(), self.scenario.rng_seed, self.variant);
        Run { label, seed, variant, result, wall: started.elapsed() }
    }
}

/// What a thread said when it panicked.
fn words_of(words: &(dyn std::any::Any + Send)) -> String {
    let text = words.downcast_ref::<String>().map(String::as_str).or_else(|| words.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").replace('\n', " ")
}

/// How far all is, by the run that began first.
fn described(jobs: &[Job], over: usize, under_way: &BTreeMap<usize, Progress>) -> String {
    let mut line = format!("{over} of {} runs done", jobs.len());
    if let Some((number, progress)) = under_way.first_key_value() {
        let Progress { now, finished, clients, events } = progress;
        let (label, at, events) = (&jobs[*number].label, now.as_secs_f64(), *events as f64 / 1e6);
        line += &format!("; {label}: {finished} of {clients} clients at {at:.2} s, {events:.1}M events");
    }
    line.chars().take(MAX_LINE).collect()
}
