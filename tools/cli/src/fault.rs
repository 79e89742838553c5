//! The error with which a command ends: a line that names the thing and the cause, a line for each peer that was tried,
//! a hint, and an exit code.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use phase_core::{Attempt, Cause, Fails, Failure};
use phase_units::counted;
use serde_json::json;

use crate::exit::exit_code;
use crate::text::printable;

/// The most peers that an error lists without `-v`.
const MAX_LISTED: usize = 8;
/// The hint if an error lists a peer with several addresses in one line.
const VERBOSE_HINT: &str = "run with -v to see each address";

/// Why a command failed: the error, the attempts that led to it, and a hint for the user.
#[derive(Debug)]
pub struct Fault {
    failure: Failure,
    error: Box<dyn Error + Send + Sync>,
    attempts: Vec<Attempt>,
    hint: Option<String>,
}

impl Fault {
    /// Returns a failure of this kind with a message of its own, no attempts and no hint.
    pub fn new(failure: Failure, message: impl Into<String>) -> Self {
        Self { failure, error: message.into().into(), attempts: Vec::new(), hint: None }
    }

    /// Sets the peers and other targets that the command tried.
    pub fn attempts(self, attempts: Vec<Attempt>) -> Self {
        Self { attempts, ..self }
    }

    /// Sets the hint: the next step for the user. It replaces the hint of the error.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Returns the kind of failure, which decides the exit code.
    pub fn failure(&self) -> Failure {
        self.failure
    }

    /// Prints the error and its hint to standard error, as JSON or as text, and returns the exit code. `verbosity` is
    /// the number of `-v` options. With at least one, the text lists every peer and every address that was tried.
    pub fn report(&self, json: bool, verbosity: u8) -> ExitCode {
        let code = exit_code(self.failure);
        if json {
            let document = json!({ "error": self.chain(), "hint": self.hint, "exit_code": code });
            eprintln!("{document}");
        } else {
            eprintln!("{}", self.text(verbosity > 0));
        }
        ExitCode::from(code)
    }

    fn text(&self, is_verbose: bool) -> String {
        let mut lines = vec![format!("error: {}", printable(&self.summary()))];
        lines.extend(attempt_lines(&self.attempts, is_verbose).iter().map(|line| format!("  {line}")));
        let hides_addresses =
            !is_verbose && self.attempts.iter().take(MAX_LISTED).any(|attempt| addresses(attempt) > 1);
        let hints = self.hint.as_deref().into_iter().chain(hides_addresses.then_some(VERBOSE_HINT));
        let hints: Vec<_> = hints.map(printable).collect();
        if !hints.is_empty() {
            lines.push(format!("hint: {}", hints.join("; ")));
        }
        lines.join("\n")
    }

    /// Returns the error, its causes and the attempts on one line, for JSON and logs.
    pub fn chain(&self) -> String {
        let attempts = self.attempts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        if attempts.is_empty() { self.summary() } else { format!("{}: {attempts}", self.summary()) }
    }

    /// Returns the error and its causes, separated by ": ", without the attempts. A cause whose text is already in the
    /// message is not repeated.
    pub fn summary(&self) -> String {
        let mut text = self.error.to_string();
        let mut cause = self.error.source();
        while let Some(error) = cause {
            let next = error.to_string();
            if !text.contains(&next) {
                text = format!("{text}: {next}");
            }
            cause = error.source();
        }
        text
    }
}

impl<E: Fails> From<E> for Fault {
    fn from(error: E) -> Self {
        let (failure, attempts, hint) = (error.failure(), error.attempts(), error.hint().map(str::to_owned));
        Self { failure, error: Box::new(error), attempts, hint }
    }
}

/// Returns the text that lists attempts: one line for each target, for at most eight targets. With `is_verbose`, lists
/// all targets, and below each target its addresses. The text is safe to print.
pub fn attempt_lines(attempts: &[Attempt], is_verbose: bool) -> Vec<String> {
    let listed = if is_verbose { attempts.len() } else { attempts.len().min(MAX_LISTED) };
    let mut lines: Vec<_> = attempts[..listed].iter().flat_map(|attempt| lines_of(attempt, is_verbose)).collect();
    match attempts.len() - listed {
        0 => {}
        1 => lines.push("… and 1 more (run with -v to see it)".to_owned()),
        more => lines.push(format!("… and {more} more (run with -v to see them)")),
    }
    lines
}

/// Returns the causes without their addresses, each once.
pub fn causes_text(causes: &[Cause]) -> String {
    let mut seen = BTreeSet::new();
    let distinct: Vec<_> =
        causes.iter().map(|cause| printable(&cause.text)).filter(|text| seen.insert(text.clone())).collect();
    distinct.join("; ")
}

fn lines_of(attempt: &Attempt, is_verbose: bool) -> Vec<String> {
    let (at_addresses, general): (Vec<_>, Vec<_>) =
        attempt.causes.iter().cloned().partition(|cause| has_own_address(attempt, cause));
    let mut summary = Vec::new();
    let mut below = Vec::new();
    match at_addresses.as_slice() {
        [] => {}
        causes if is_verbose => below.extend(causes.iter().map(|cause| format!("  {}", address_line(attempt, cause)))),
        [cause] => summary.push(address_line(attempt, cause)),
        causes => {
            summary.push(format!("{}: {}", counted(causes.len(), "address", "addresses"), causes_text(causes)));
        }
    }
    if !general.is_empty() {
        summary.push(causes_text(&general));
    }
    let target = printable(&attempt.target);
    let first = if summary.is_empty() { target } else { format!("{target}  {}", summary.join("; ")) };
    std::iter::once(first).chain(below).collect()
}

/// Returns the number of addresses of an attempt.
fn addresses(attempt: &Attempt) -> usize {
    attempt.causes.iter().filter(|cause| has_own_address(attempt, cause)).count()
}

/// Returns whether a cause has an address that is not already the name of the target.
fn has_own_address(attempt: &Attempt, cause: &Cause) -> bool {
    cause.address.as_ref().is_some_and(|address| *address != attempt.target)
}

/// Returns a cause with its address, without the peer id if that is the target.
fn address_line(attempt: &Attempt, cause: &Cause) -> String {
    let address = cause.address.as_deref().unwrap_or_default();
    let address = address.strip_suffix(&format!("/p2p/{}", attempt.target)).unwrap_or(address);
    format!("{}: {}", printable(address), printable(&cause.text))
}

/// A file named on the command line that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct FileError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    /// Returns a function for `map_err`. `action` is a verb: what was attempted with the file.
    pub fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }
}

impl Fails for FileError {
    fn failure(&self) -> Failure {
        Failure::Input
    }
}

#[cfg(test)]
mod tests {
    use phase_core::NameError;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer: inner")]
    struct Inlined(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Plain(#[source] io::Error);

    impl Fails for Inlined {
        fn failure(&self) -> Failure {
            Failure::Store
        }
    }

    impl Fails for Plain {
        fn failure(&self) -> Failure {
            Failure::Store
        }
    }

    #[test]
    fn a_cause_that_the_message_contains_is_not_repeated() {
        assert_eq!(Fault::from(Plain(io::Error::other("inner"))).chain(), "outer: inner");
        assert_eq!(Fault::from(Inlined(io::Error::other("inner"))).chain(), "outer: inner");
    }

    const ONE: &str = "12D3KooWHUi1dzoF2bAzaLBmA4aA4h7RMEZdVCrxTp3HuUWHZepf";
    const TWO: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";

    /// Returns an attempt at a peer whose addresses failed for these reasons.
    fn attempt(peer: &str, causes: &[(&str, &str)]) -> Attempt {
        let at = |(address, text): &(&str, &str)| Cause::at(format_args!("{address}/p2p/{peer}"), text);
        Attempt::new(peer, causes.iter().map(at).collect())
    }

    fn unreachable(attempts: Vec<Attempt>) -> Fault {
        Fault::new(Failure::Network, "no peer can be reached").attempts(attempts).hint("start it")
    }

    fn two_peers() -> Fault {
        let one = [("/ip4/127.0.0.1/tcp/4709", "connection refused"), ("/ip4/127.0.0.1/udp/4709/quic-v1", "timed out")];
        let two = [("/ip4/127.0.0.2/tcp/4710", "connection refused")];
        unreachable(vec![attempt(ONE, &one), attempt(TWO, &two)])
    }

    #[test]
    fn a_fault_without_attempts_is_the_error_and_the_hint() {
        let text = "error: no peer can be reached\nhint: start it";
        assert_eq!(
            (unreachable(Vec::new()).text(false), unreachable(Vec::new()).text(true)),
            (text.into(), text.into())
        );
        assert_eq!(Fault::new(Failure::Other, "a\x1b").text(false), "error: a\\u{1b}");
    }

    #[test]
    fn each_peer_has_one_line_and_the_hint_names_the_verbose_option() {
        let expected = format!(
            "error: no peer can be reached\n  {ONE}  2 addresses: connection refused; timed out\n  \
             {TWO}  /ip4/127.0.0.2/tcp/4710: connection refused\nhint: start it; run with -v to see each address"
        );
        assert_eq!(two_peers().text(false), expected);
        // The same cause at several addresses stands once, and an error without a hint gets one.
        let causes = [("/ip4/127.0.0.1/tcp/1", "timed out"), ("/ip4/127.0.0.1/tcp/2", "timed out")];
        let fault = Fault::new(Failure::Network, "lost").attempts(vec![attempt(ONE, &causes)]);
        let expected = format!("error: lost\n  {ONE}  2 addresses: timed out\nhint: run with -v to see each address");
        assert_eq!(fault.text(false), expected);
    }

    #[test]
    fn a_verbose_text_has_one_line_for_each_address_below_its_peer() {
        let expected = format!(
            "error: no peer can be reached\n  {ONE}\n    /ip4/127.0.0.1/tcp/4709: connection refused\n    \
             /ip4/127.0.0.1/udp/4709/quic-v1: timed out\n  {TWO}\n    /ip4/127.0.0.2/tcp/4710: connection refused\n\
             hint: start it"
        );
        assert_eq!(two_peers().text(true), expected);
    }

    #[test]
    fn a_target_without_a_peer_id_is_named_by_its_address() {
        let address = "/ip4/127.0.0.1/tcp/4711";
        for cause in [Cause::new("no answer"), Cause::at(address, "no answer")] {
            let fault = unreachable(vec![Attempt::new(address, vec![cause])]);
            let expected = format!("error: no peer can be reached\n  {address}  no answer\nhint: start it");
            assert_eq!((fault.text(false), fault.text(true)), (expected.clone(), expected));
        }
    }

    #[test]
    fn a_peer_may_have_causes_with_and_without_an_address() {
        let mut attempt = attempt(ONE, &[("/ip4/127.0.0.1/tcp/1", "timed out")]);
        attempt.causes.push(Cause::new("its record has expired"));
        let attempts = [attempt];
        assert_eq!(
            attempt_lines(&attempts, false),
            [format!("{ONE}  /ip4/127.0.0.1/tcp/1: timed out; its record has expired")]
        );
        assert_eq!(
            attempt_lines(&attempts, true),
            [format!("{ONE}  its record has expired"), "  /ip4/127.0.0.1/tcp/1: timed out".to_owned()]
        );
    }

    #[test]
    fn only_a_verbose_text_lists_more_than_eight_peers() {
        let attempts = |count| (0..count).map(|n| Attempt::new(n, vec![Cause::new("silent")])).collect::<Vec<_>>();
        for (count, last) in [
            (1, "0  silent"),
            (8, "7  silent"),
            (9, "… and 1 more (run with -v to see it)"),
            (128, "… and 120 more (run with -v to see them)"),
        ] {
            let lines = attempt_lines(&attempts(count), false);
            assert_eq!((lines.len(), lines.last().unwrap().as_str()), (count.min(9), last));
            assert_eq!(attempt_lines(&attempts(count), true).len(), count);
        }
    }

    #[test]
    fn the_one_line_form_has_every_cause() {
        let expected = format!(
            "no peer can be reached: /ip4/127.0.0.1/tcp/4709/p2p/{ONE}: connection refused; \
             /ip4/127.0.0.1/udp/4709/quic-v1/p2p/{ONE}: timed out; /ip4/127.0.0.2/tcp/4710/p2p/{TWO}: connection refused"
        );
        assert_eq!(two_peers().chain(), expected);
    }

    #[test]
    fn a_fault_has_the_failure_kind_of_its_error() {
        assert_eq!(Fault::from(Plain(io::Error::other("inner"))).failure(), Failure::Store);
        assert_eq!(Fault::from(NameError::Form("x".to_owned())).failure(), Failure::Input);
    }
}
