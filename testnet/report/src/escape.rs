//! Escapes untrusted text for HTML, SVG, Markdown and URLs.

/// Escapes a text for an element or a quoted attribute of HTML and SVG.
pub(crate) fn html(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            // XML permits neither these two characters nor references to them.
            '\u{fffe}' | '\u{ffff}' => html.push('\u{fffd}'),
            _ if letter.is_control() => html.push(' '),
            _ => html.push(letter),
        }
    }
    html
}

/// Escapes a text for one line of Markdown, so that it contains no markup, no HTML and no end of a table cell.
pub(crate) fn markdown(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => plain.push_str("&amp;"),
            '<' => plain.push_str("&lt;"),
            '>' => plain.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => plain.extend(['\\', letter]),
            _ if letter.is_control() => plain.push(' '),
            _ => plain.push(letter),
        }
    }
    plain
}

/// Encodes a relative path as a relative URL. The slash is the only reserved character that is not encoded.
pub(crate) fn address(path: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    path.bytes().map(encoded).collect()
}

/// Shortens a text to at most `letters` characters. A shortened text ends with an ellipsis.
pub(crate) fn clipped(text: &str, letters: usize) -> String {
    let mut short: String = text.chars().take(letters).collect();
    if text.chars().nth(letters).is_some() {
        short.pop();
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped() {
        assert_eq!(html("<a b='\"'>&\u{1b}\u{ffff}"), "&lt;a b=&#39;&quot;&#39;&gt;&amp; \u{fffd}");
        assert_eq!(markdown("a|b\nc_d<"), "a\\|b c\\_d&lt;");
        assert_eq!(address("a \"b\"<c>?#%/ü"), "a%20%22b%22%3Cc%3E%3F%23%25/%C3%BC");
        assert_eq!([clipped("abcdef", 4), clipped("äöü", 3)], ["abc…", "äöü"]);
    }
}
