//! Where in a file a key stands.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

/// A file that describes no scenario: which one, where in it, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1, if it can be told.
    pub line: Option<usize>,
    /// The key, with its section, if it can be told: `clients.spread`.
    pub key: Option<String>,
    /// What is wrong.
    pub cause: String,
}

/// The keys of a TOML document with the bytes that they and their values take.
pub(crate) struct Places<'t> {
    text: &'t str,
    /// In the order of the document's tables: what is inside of something comes after it.
    keys: Vec<(String, std::ops::Range<usize>)>,
}

impl<'t> Places<'t> {
    /// # Errors
    /// If the text is no TOML.
    pub(crate) fn of(text: &'t str) -> Result<Self, Error> {
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

    /// The line of a key, or else of the table or list that it would be in.
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

    /// An error in a document that is TOML.
    pub(crate) fn error(&self, path: &Path, error: &Error) -> FileError {
        let span = error.span().unwrap_or(0..0);
        // The innermost key around the place, which is the one that takes the fewest bytes, and of several the last.
        let around = self.keys.iter().rev().filter(|(_, taken)| taken.start <= span.start && span.end <= taken.end);
        let key = around.min_by_key(|(_, taken)| taken.len()).map(|(key, _)| key.clone());
        let line = (!span.is_empty()).then(|| line_at(self.text, span.start));
        FileError { path: path.to_owned(), line, key, cause: error.message().to_owned() }
    }
}

impl FileError {
    /// An error of a whole file.
    pub(crate) fn whole(path: &Path, cause: String) -> Self {
        Self { path: path.to_owned(), line: None, key: None, cause }
    }

    /// An error in a text that is no TOML.
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
