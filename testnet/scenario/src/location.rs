//! The position of each key in a scenario file, for error messages.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

/// An error from reading a scenario file, with the position in the file and the cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FileError {
    /// The path of the scenario file.
    pub path: PathBuf,
    /// The line number, counted from 1. `None` if the position is unknown.
    pub line: Option<usize>,
    /// The key with its section, such as `clients.spread`. `None` if the error does not concern a single key.
    pub key: Option<String>,
    /// The cause of the error.
    pub cause: String,
}

/// The positions of all keys of a TOML document and of their values.
pub(crate) struct KeyLocations<'t> {
    text: &'t str,
    /// Byte ranges in `text`, each with the path of a key, such as `clients.spread`. A key has two entries: the range
    /// of the key itself, and the range of its value. An item of a list has one entry, the range of its value. The
    /// content of a table or list comes after the table or list.
    keys: Vec<(String, std::ops::Range<usize>)>,
}

impl<'t> KeyLocations<'t> {
    /// Parses a TOML text, and finds all its keys.
    ///
    /// # Errors
    /// If the text is not TOML.
    pub(crate) fn of(text: &'t str) -> Result<Self, Error> {
        let mut locations = Self { text, keys: Vec::new() };
        locations.add_table("", DeTable::parse(text)?.get_ref());
        Ok(locations)
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

    /// Returns the line number of a key. If the key is missing, returns the line number of the innermost table or list
    /// to which it would belong.
    pub(crate) fn line_of(&self, key: &str) -> Option<usize> {
        let mut path = Some(key);
        while let Some(key) = path {
            if let Some((_, span)) = self.keys.iter().find(|(path, _)| path == key) {
                return Some(line_at(self.text, span.start));
            }
            path = key.rsplit_once('.').map(|(outer, _)| outer);
        }
        None
    }

    /// Converts an error from deserialising this document, and adds the line and the key.
    pub(crate) fn error(&self, path: &Path, error: &Error) -> FileError {
        let span = error.span().unwrap_or(0..0);
        // Find the innermost key around the error, which is the key with the shortest range. Search backwards, because
        // a table or list comes before its content, and both may have the same range.
        let around = self.keys.iter().rev().filter(|(_, taken)| taken.start <= span.start && span.end <= taken.end);
        let key = around.min_by_key(|(_, taken)| taken.len()).map(|(key, _)| key.clone());
        let line = (!span.is_empty()).then(|| line_at(self.text, span.start));
        FileError { path: path.to_owned(), line, key, cause: error.message().to_owned() }
    }
}

impl FileError {
    /// Returns an error that concerns the whole file.
    pub(crate) fn whole(path: &Path, cause: String) -> Self {
        Self { path: path.to_owned(), line: None, key: None, cause }
    }

    /// Converts an error from parsing a text that is not TOML.
    pub(crate) fn syntax(path: &Path, text: &str, error: &Error) -> Self {
        let line = error.span().map(|span| line_at(text, span.start));
        Self { line, ..Self::whole(path, error.message().to_owned()) }
    }
}

fn line_at(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        match &self.key {
            Some(key) => write!(f, ": {key}: {}", self.cause),
            None => write!(f, ": {}", self.cause),
        }
    }
}
