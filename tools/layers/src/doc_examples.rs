//! Finds the Rust examples in doc comments, which `cargo test` compiles.

/// Returns every Rust example in the doc comments of a source file.
pub(crate) fn doc_examples(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut example: Option<String> = None;
    // Whether the current line is inside a code block of another language than Rust.
    let mut is_other = false;
    for line in text.lines() {
        let line = line.trim_start();
        let Some(line) = line.strip_prefix("///").or(line.strip_prefix("//!")) else {
            (example, is_other) = (None, false);
            continue;
        };
        let line = line.strip_prefix(' ').unwrap_or(line);
        match (line.trim_start().strip_prefix("```"), &mut example) {
            (Some(_), open @ Some(_)) => found.extend(open.take()),
            (Some(_), None) if is_other => is_other = false,
            (Some(tags), None) if is_rust(tags) => example = Some(String::new()),
            (Some(_), None) => is_other = true,
            (None, Some(example)) => {
                // Lines that begin with `# ` are compiled but not shown, so only the `# ` is removed.
                let code = line.trim_start();
                example.push_str(code.strip_prefix("# ").unwrap_or(if code == "#" { "" } else { code }));
                example.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

/// Whether a code block with these tags is an example in Rust: it has no tag, or only tags for Rust.
fn is_rust(tags: &str) -> bool {
    let known = ["", "rust", "no_run", "should_panic", "compile_fail"];
    tags.split(',').all(|tag| known.contains(&tag.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_read_with_their_hidden_lines() {
        let text = "//! Words a::b.\n//!\n//! ```\n//! # use a::B;\n//! B::new()\n//! ```\n//! More.\n\
                    /// ```no_run\n/// c::d();\n/// ```\nfn f() {}";
        assert_eq!(doc_examples(text), ["use a::B;\nB::new()\n", "c::d();\n"]);
    }

    #[test]
    fn blocks_of_other_languages_and_string_literals_are_not_examples() {
        let text = "//! ```text\n//! a::b\n//! ```\n//! c::d\nlet x = \"```\";\n/// ```ignore\n/// e::f\n/// ```\n";
        assert_eq!(doc_examples(text), Vec::<String>::new());
    }
}
