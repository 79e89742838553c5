//! Foreign text in HTML, SVG, Markdown and addresses.

/// Text that is nothing but text in an element or in quotes, in HTML and in SVG.
pub(crate) fn html(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            // XML has none of these, not even escaped.
            '\u{fffe}' | '\u{ffff}' => html.push('\u{fffd}'),
            _ if letter.is_control() => html.push(' '),
            _ => html.push(letter),
        }
    }
    html
}

/// Text that is nothing but text, on one line of Markdown: no markup, no HTML, no end of a cell.
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

/// A relative path as an address. A slash is the only byte that keeps its meaning.
pub(crate) fn address(path: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    path.bytes().map(encoded).collect()
}

/// The first letters of a text.
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
    fn foreign_text_has_no_meaning() {
        assert_eq!(html("<a b='\"'>&\u{1b}\u{ffff}"), "&lt;a b=&#39;&quot;&#39;&gt;&amp; \u{fffd}");
        assert_eq!(markdown("a|b\nc_d<"), "a\\|b c\\_d&lt;");
        assert_eq!(address("a \"b\"<c>?#%/ü"), "a%20%22b%22%3Cc%3E%3F%23%25/%C3%BC");
        assert_eq!([clipped("abcdef", 4), clipped("äöü", 3)], ["abc…", "äöü"]);
    }
}
