//! Names and values of an event.

use std::{
    error,
    fmt::{self, Write},
};

use serde_json::Value;
use tracing::field::{Field, Visit};

/// Bytes of one value: more is cut. A line stays readable, and a peer that gives endless reasons fills no disk.
const MAX_VALUE: usize = 2048;

/// Keys that a line has anyway; a field of that name gets an underscore behind it.
const TAKEN: [&str; 3] = ["level", "time", "message"];

/// Names and values in the order in which they came, each name once; the message apart.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) message: String,
    list: Vec<(String, Value)>,
}

impl Fields {
    /// In order, but for `error`, which comes first as in zerolog.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        let is_error = |entry: &&(String, Value)| entry.0 == "error";
        let errors = self.list.iter().filter(is_error);
        errors.chain(self.list.iter().filter(move |entry| !is_error(entry))).map(|(name, value)| (name.as_str(), value))
    }

    /// Takes over what has no value here yet.
    pub(super) fn append(&mut self, outer: &Self) {
        for (name, value) in &outer.list {
            if !self.list.iter().any(|(known, _)| known == name) {
                self.list.push((name.clone(), value.clone()));
            }
        }
    }

    pub(super) fn set(&mut self, name: &str, value: Value) {
        match self.list.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.list.push((name.to_owned(), value)),
        }
    }

    #[cfg(test)]
    pub(super) fn saying(message: &str) -> Self {
        Self { message: message.to_owned(), list: Vec::new() }
    }

    fn record(&mut self, field: &Field, value: Value) {
        let name = field.name();
        // Names that are Rust's keywords are written raw.
        let name = name.strip_prefix("r#").unwrap_or(name);
        if TAKEN.contains(&name) { self.set(&format!("{name}_"), value) } else { self.set(name, value) }
    }

    fn record_text(&mut self, field: &Field, text: fmt::Arguments<'_>) {
        let mut value = Bounded::default();
        // It refuses what is too much, and the formatting then ends early, which is what is wanted.
        let _ = value.write_fmt(text);
        if field.name() == "message" {
            self.message = value.text
        } else {
            self.record(field, Value::String(value.text))
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_text(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_text(field, format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn error::Error + 'static)) {
        self.record_text(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for what is no number.
        self.record(field, serde_json::Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number));
    }
}

/// A text that takes [`MAX_VALUE`] bytes and then ends in `…`.
#[derive(Default)]
struct Bounded {
    text: String,
}

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = MAX_VALUE.saturating_sub(self.text.len());
        if more.len() <= room {
            self.text.push_str(more);
            return Ok(());
        }
        self.text.push_str(more.get(..more.floor_char_boundary(room)).unwrap_or_default());
        self.text.push('…');
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let mut value = Bounded::default();
        assert!(value.write_str(&"x".repeat(MAX_VALUE - 1)).is_ok());
        assert!(value.write_str("üü").is_err());
        assert_eq!(value.text, format!("{}…", "x".repeat(MAX_VALUE - 1)));
        let mut value = Bounded::default();
        assert!(write!(value, "{}", "x".repeat(MAX_VALUE)).is_ok());
        assert_eq!(value.text.len(), MAX_VALUE);
    }

    #[test]
    fn inner_values_stand_and_errors_come_first() {
        let (mut inner, mut outer) = (Fields::default(), Fields::default());
        inner.set("peer", "a".into());
        inner.set("error", "broken".into());
        outer.set("peer", "b".into());
        outer.set("node", 1.into());
        inner.append(&outer);
        let list: Vec<_> = inner.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(list, ["error=\"broken\"", "peer=\"a\"", "node=1"]);
    }
}
