//! The kinds of failure a user can tell apart, and their exit codes.

/// What kind of thing went wrong, as far as the caller's next step depends on it.
///
/// Every operation's error enum has a method `failure` that maps to this; the binaries exit with
/// [`Failure::exit_code`], so all three agree. 0 is success and 2 is a wrong command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Anything that has no kind of its own.
    Other,
    /// The command line is wrong.
    Usage,
    /// An input file, key or identifier is missing or malformed.
    Input,
    /// What was asked for exists nowhere that was asked.
    NotFound,
    /// No peer could be reached, or all went away.
    Network,
    /// A signature, hash, version or name did not verify.
    Untrusted,
    /// The store cannot be opened, read or written.
    Store,
    /// Stopped by a signal.
    Interrupted,
}

impl Failure {
    /// The exit code of a binary that ends with this failure.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Usage => 2,
            Self::Input => 3,
            Self::NotFound => 4,
            Self::Network => 5,
            Self::Untrusted => 6,
            Self::Store => 7,
            Self::Interrupted => 130,
        }
    }
}

/// The table of exit codes as `--help` prints it.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    any other failure
  2    wrong command line
  3    an input file, key or identifier is missing or malformed
  4    not found: nobody that was asked has it
  5    network: no peer reachable, or all went away
  6    not trusted: a signature, hash, version or name did not verify
  7    store: cannot be opened, read or written
  130  stopped by a signal";
