//! Exit codes. Every program has the same code for the same kind of failure.

use phase_core::Failure;

/// The table of exit codes that `--help` prints.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    success
  1    any other failure
  2    wrong command line
  3    an input file, key or identifier is missing or malformed
  4    not found: neither the peers that were asked nor the store has it
  5    network: no peer can be reached, or every connection was lost
  6    not trusted: a signature, hash, version or name did not verify
  7    store or disk: it cannot be opened, read or written, or it is full or damaged, or files in it are damaged or missing
  130  stopped by a signal";

/// Returns the exit code of a program that ends with this failure. 0 means success and is never returned.
pub const fn exit_code(failure: Failure) -> u8 {
    match failure {
        Failure::Other => 1,
        Failure::Usage => 2,
        Failure::Input => 3,
        Failure::NotFound => 4,
        Failure::Network => 5,
        Failure::Untrusted => 6,
        Failure::Store => 7,
        Failure::Interrupted => 130,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_is_in_the_table_once() {
        let kinds = [
            Failure::Other,
            Failure::Usage,
            Failure::Input,
            Failure::NotFound,
            Failure::Network,
            Failure::Untrusted,
            Failure::Store,
            Failure::Interrupted,
        ];
        let codes = kinds.map(exit_code);
        let listed =
            EXIT_CODES.lines().skip(1).map(|line| line.split_whitespace().next().unwrap().parse::<u8>().unwrap());
        assert!(listed.eq(std::iter::once(0).chain(codes)), "{codes:?}");
    }
}
