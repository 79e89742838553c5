//! Shows the progress of work: a bar on a terminal, otherwise a line every two seconds.
//!
//! While a bar is drawn, everything that is written to standard error passes through this module, so that other text
//! does not break the bar.

use std::io::{self, IsTerminal as _, Write};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use phase_cli::{ByteRate, Bytes};

/// The time between two progress lines.
const LINE_INTERVAL: Duration = Duration::from_secs(2);
const BAR: &str = "{wide_bar} {bytes:>11} of {total_bytes} {binary_bytes_per_sec:>12} {eta:>4} {msg}";

/// The form of a bar while the total is not known.
const COUNTER: &str = "{bytes:>11} {binary_bytes_per_sec:>12} {wide_msg}";

/// The progress bars that are drawn on the terminal.
static DRAWN: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// A display of the progress of work: how many bytes of a total are done.
pub(crate) enum Progress {
    /// Progress is not shown.
    Hidden,
    /// Progress is shown as a bar.
    Bar(ProgressBar),
    /// Progress is shown as lines.
    Lines(Lines),
}

impl Progress {
    /// Returns a hidden display if `shown` is false, a bar if standard error is a terminal, and lines otherwise.
    pub(crate) fn new(shown: bool) -> Self {
        if !shown {
            Self::Hidden
        } else if io::stderr().is_terminal() {
            let style = ProgressStyle::with_template(BAR).expect("the template is valid").progress_chars("=> ");
            Self::Bar(DRAWN.add(ProgressBar::new(0).with_style(style)))
        } else {
            Self::Lines(Lines { began: now(), last: (now(), 0) })
        }
    }

    /// Shows that `done` of `total` bytes are done, with `note` at the end.
    pub(crate) fn update(&mut self, done: u64, total: u64, note: &str) {
        match self {
            // Nothing is shown while the total is unknown.
            _ if total == 0 => {}
            Self::Hidden => {}
            Self::Bar(bar) => {
                bar.set_length(total);
                bar.set_position(done);
                bar.set_message(note.to_owned());
            }
            Self::Lines(lines) => lines.update(now(), done, Some(total), note),
        }
    }

    /// Shows that `done` bytes are done of a total that is not known, with `note` at the end.
    pub(crate) fn update_without_total(&mut self, done: u64, note: &str) {
        match self {
            Self::Hidden => {}
            Self::Bar(bar) => {
                if bar.length().is_some() {
                    bar.unset_length();
                    bar.set_style(ProgressStyle::with_template(COUNTER).expect("the template is valid"));
                }
                bar.set_position(done);
                bar.set_message(note.to_owned());
            }
            Self::Lines(lines) => lines.update(now(), done, None, note),
        }
    }

    /// Sets the number of bytes that were already done when the work began. These bytes do not count for the rate.
    pub(crate) fn begin_at(&mut self, done: u64) {
        if let Self::Bar(bar) = self {
            bar.set_position(done);
            bar.reset_eta();
        }
        if let Self::Lines(lines) = self {
            lines.last.1 = done;
        }
    }

    /// Removes the bar from the terminal, if there is a bar.
    pub(crate) fn end(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// Shows progress as lines of text.
pub(crate) struct Lines {
    began: Instant,
    /// The time at which the last line was printed, and the number of bytes that were done at that time.
    last: (Instant, u64),
}

impl Lines {
    fn update(&mut self, now: Instant, done: u64, total: Option<u64>, note: &str) {
        let (last, before) = self.last;
        if now - last >= LINE_INTERVAL {
            let rate = ByteRate::of(done.saturating_sub(before), now - last);
            let seconds = (now - self.began).as_secs();
            let of = total.map_or(String::new(), |total| format!(" of {}", Bytes(total)));
            line(&format!("{seconds:>4} s  {}{of}  {rate}  {note}", Bytes(done)));
            self.last = (now, done);
        }
    }
}

/// Prints a line of text on standard error, above the bar if a bar is drawn.
pub(crate) fn line(text: &str) {
    DRAWN.suspend(|| {
        // An error is ignored, because there is no better place than standard error to report it.
        let _ = writeln!(io::stderr(), "{text}");
    });
}

/// Returns a writer to standard error for the log. What it writes does not break the bar.
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

/// Returns the current time. Only printed figures depend on it.
#[expect(clippy::disallowed_methods, reason = "a binary measures how long its work takes, here and nowhere else")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
