//! Foreign text, safe for a terminal.

use std::fmt::Write as _;

/// Text from elsewhere, safe for a terminal: control characters, and those that reorder or hide text, are escaped.
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

/// Unicode's directional and zero-width formatting characters.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_safe_from_foreign_text() {
        assert_eq!(printable("vmlinuz-6.1 ü"), "vmlinuz-6.1 ü");
        assert_eq!(printable("a\x1b[31mb\r\n\u{9b}"), "a\\u{1b}[31mb\\u{d}\\u{a}\\u{9b}");
        assert_eq!(printable("a\u{202e}b\u{200b}"), "a\\u{202e}b\\u{200b}");
    }
}
