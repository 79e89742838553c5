//! Where in a file a key stands.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::FileError;

/// The keys of a TOML document with the bytes that they and their values take.
pub(super) struct Places<'t> {
    text: &'t str,
    /// In the order of the document's tables: what is inside of something comes after it.
    keys: Vec<(String, std::ops::Range<usize>)>,
}

impl<'t> Places<'t> {
    /// # Errors
    /// If the text is no TOML.
    pub(super) fn of(text: &'t str) -> Result<Self, Error> {
        let mut places = Self { text, keys: Vec::new() };
        places.add_table("", DeTable::parse(text)?.get_ref());
        Ok(places)
    }

    fn add_table(&mut self, path: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
            self.keys.push((path.clone(), key.span()));
            self.add(path, value);
        }
    }

    fn add(&mut self, path: String, value: &Spanned<DeValue<'_>>) {
        self.keys.push((path.clone(), value.span()));
        match value.get_ref() {
            DeValue::Table(table) => self.add_table(&path, table),
            DeValue::Array(values) => {
                values.iter().enumerate().for_each(|(number, value)| self.add(format!("{path}.{number}"), value));
            }
            _ => {}
        }
    }

    /// The line of a key, or else of what it would be in.
    pub(super) fn line_of(&self, key: &str) -> Option<usize> {
        let mut path = Some(key);
        while let Some(key) = path {
            if let Some((_, span)) = self.keys.iter().find(|(path, _)| path == key) {
                return Some(line_at(self.text, span.start));
            }
            path = key.rsplit_once('.').map(|(outer, _)| outer);
        }
        None
    }

    /// An error in a document that is TOML.
    pub(super) fn error(&self, path: &Path, error: &Error) -> FileError {
        let span = error.span().unwrap_or(0..0);
        // The innermost key around the place, which is the one that takes the fewest bytes, and of several the last.
        let around = self.keys.iter().rev().filter(|(_, taken)| taken.start <= span.start && span.end <= taken.end);
        let key = around.min_by_key(|(_, taken)| taken.len()).map(|(key, _)| key.clone());
        let line = (!span.is_empty()).then(|| line_at(self.text, span.start));
        FileError { path: path.to_owned(), line, key, cause: error.message().to_owned() }
    }

    /// An error in a text that is no TOML.
    pub(super) fn syntax_error(path: &Path, text: &str, error: &Error) -> FileError {
        let line = error.span().map(|span| line_at(text, span.start));
        FileError { path: path.to_owned(), line, key: None, cause: error.message().to_owned() }
    }
}

fn line_at(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}
