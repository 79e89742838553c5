//! Text from peers and files, made safe to print.

use std::fmt::Write as _;

/// Returns a text from a peer or a file in a form that is safe to print on a terminal. Control characters, and
/// characters that reorder or hide text, are escaped.
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) {
            write!(safe, "{}", c.escape_unicode()).expect("writing to a string cannot fail");
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Whether `c` is a directional or zero-width formatting character of Unicode, which can reorder or hide text.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_formatting_characters_are_escaped() {
        assert_eq!(printable("vmlinuz-6.1 ü"), "vmlinuz-6.1 ü");
        assert_eq!(printable("a\x1b[31mb\r\n\u{9b}"), "a\\u{1b}[31mb\\u{d}\\u{a}\\u{9b}");
        assert_eq!(printable("a\u{202e}b\u{200b}"), "a\\u{202e}b\\u{200b}");
    }
}
