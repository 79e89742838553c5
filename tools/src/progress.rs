//! How far something is: a bar on a terminal, a line every two seconds elsewhere.
//!
//! All that goes to standard error while a bar is drawn goes through here, so that the two do not mix.

use std::io::{self, IsTerminal as _, Write};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use phase_cli::{ByteRate, Bytes};

/// The time between two lines.
const LINE_INTERVAL: Duration = Duration::from_secs(2);
const BAR: &str = "{wide_bar} {bytes:>11} of {total_bytes} {binary_bytes_per_sec:>12} {eta:>4} {msg}";

/// Everything that is drawn.
static DRAWN: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Shows how many bytes of a known number are done.
pub(crate) enum Progress {
    /// Not shown.
    Hidden,
    /// A bar.
    Bar(ProgressBar),
    /// Lines.
    Lines(Lines),
}

impl Progress {
    /// Begins to show it, if wanted.
    pub(crate) fn new(shown: bool) -> Self {
        if !shown {
            Self::Hidden
        } else if io::stderr().is_terminal() {
            let style = ProgressStyle::with_template(BAR).expect("the template is valid").progress_chars("=> ");
            Self::Bar(DRAWN.add(ProgressBar::new(0).with_style(style)))
        } else {
            Self::Lines(Lines { began: now(), told: (now(), 0) })
        }
    }

    /// `done` of `total` bytes are done; `note` says what is going on.
    pub(crate) fn update(&mut self, done: u64, total: u64, note: &str) {
        match self {
            // Nothing can be said while the size is unknown.
            _ if total == 0 => {}
            Self::Hidden => {}
            Self::Bar(bar) => {
                bar.set_length(total);
                bar.set_position(done);
                bar.set_message(note.to_owned());
            }
            Self::Lines(lines) => lines.update(now(), done, total, note),
        }
    }

    /// What is done at the beginning already does not count for the rate.
    pub(crate) fn begin_at(&mut self, done: u64) {
        if let Self::Bar(bar) = self {
            bar.set_position(done);
            bar.reset_eta();
        }
        if let Self::Lines(lines) = self {
            lines.told.1 = done;
        }
    }

    /// Removes the bar.
    pub(crate) fn end(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// Plain lines.
pub(crate) struct Lines {
    began: Instant,
    /// When the last line was printed, and how many bytes were done then.
    told: (Instant, u64),
}

impl Lines {
    fn update(&mut self, now: Instant, done: u64, total: u64, note: &str) {
        let (told, before) = self.told;
        if now - told >= LINE_INTERVAL {
            let rate = ByteRate::of(done.saturating_sub(before), now - told);
            let seconds = (now - self.began).as_secs();
            line(&format!("{seconds:>4} s  {} of {}  {rate}  {note}", Bytes(done), Bytes(total)));
            self.told = (now, done);
        }
    }
}

/// Prints a line on standard error, above a bar if one is drawn.
pub(crate) fn line(text: &str) {
    DRAWN.suspend(|| {
        // Whoever closed standard error does not want it.
        let _ = writeln!(io::stderr(), "{text}");
    });
}

/// Where the log goes.
pub(crate) fn log_writer() -> impl Write {
    LogWriter
}

struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        DRAWN.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// For figures that people see; nothing depends on it.
#[expect(clippy::disallowed_methods, reason = "a binary measures how long its work takes, here and nowhere else")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
