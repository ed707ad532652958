//! A line for people.

use serde_json::Value;
use time::{OffsetDateTime, macros::format_description};
use tracing::Level;

use super::fields::Fields;

/// SGR parameters (ECMA-48 §8.3.117), as zerolog has them.
mod colour {
    pub(super) const PLAIN: &str = "";
    pub(super) const BOLD: &str = "1";
    pub(super) const RED: &str = "31";
    pub(super) const GREEN: &str = "32";
    pub(super) const YELLOW: &str = "33";
    pub(super) const BLUE: &str = "34";
    pub(super) const CYAN: &str = "36";
    pub(super) const GREY: &str = "90";
    pub(super) const BOLD_RED: &str = "1;31";
}

/// `3:04PM INF message name=value …`, with the line's end.
pub(super) fn line(time: OffsetDateTime, level: Level, fields: &Fields, is_coloured: bool) -> String {
    let clock = format_description!("[hour repr:12 padding:none]:[minute][period case:upper]");
    let mut line = Line { text: String::new(), is_coloured };
    line.push(colour::GREY, &time.format(clock).unwrap_or_default());
    let (name, of_level, of_message) = match level {
        Level::TRACE => ("TRC", colour::BLUE, colour::PLAIN),
        Level::DEBUG => ("DBG", colour::PLAIN, colour::PLAIN),
        Level::INFO => ("INF", colour::GREEN, colour::BOLD),
        Level::WARN => ("WRN", colour::YELLOW, colour::BOLD),
        Level::ERROR => ("ERR", colour::RED, colour::BOLD),
    };
    line.push(colour::PLAIN, " ");
    line.push(of_level, name);
    line.push(colour::PLAIN, " ");
    line.push(of_message, &escape(&fields.message, |c| !is_shown(c)));
    for (name, value) in fields.iter() {
        line.push(colour::PLAIN, " ");
        line.push(colour::CYAN, &format!("{name}="));
        line.push(if name == "error" { colour::BOLD_RED } else { colour::PLAIN }, &shown(value));
    }
    line.text.push('\n');
    line.text
}

struct Line {
    text: String,
    is_coloured: bool,
}

impl Line {
    fn push(&mut self, colour: &str, text: &str) {
        if self.is_coloured && !colour.is_empty() {
            self.text.extend(["\u{1b}[", colour, "m", text, "\u{1b}[0m"]);
        } else {
            self.text.push_str(text);
        }
    }
}

/// A value: in quotes where it would not otherwise be seen where it ends or what is in it.
fn shown(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_string() };
    let is_odd = |c| matches!(c, '"' | '\\') || !is_shown(c);
    if text.chars().any(|c| c == ' ' || is_odd(c)) { format!("\"{}\"", escape(text, is_odd)) } else { text.clone() }
}

/// Whether a terminal shows the character as itself: no control character, nothing that is invisible or turns the direction of
/// what follows.
fn is_shown(c: char) -> bool {
    matches!(c, '"' | '\\' | '\'') || c.escape_debug().nth(1).is_none()
}

/// The text with its odd characters as Go writes them.
fn escape(text: &str, is_odd: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if !is_odd(c) => escaped.push(c),
            '"' | '\\' => escaped.extend(['\\', c]),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c => match u32::from(c) {
                code @ ..=0x7f => escaped.push_str(&format!("\\x{code:02x}")),
                code @ ..=0xffff => escaped.push_str(&format!("\\u{code:04x}")),
                code => escaped.push_str(&format!("\\U{code:08x}")),
            },
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    fn rendered(level: Level, message: &str, list: &[(&str, Value)], is_coloured: bool) -> String {
        let mut fields = Fields::saying(message);
        list.iter().for_each(|(name, value)| fields.set(name, value.clone()));
        line(datetime!(2026-01-01 15:04:05 UTC), level, &fields, is_coloured)
    }

    #[test]
    fn looks_like_zerolog() {
        let fields =
            [("peer", "12D3KooW…QnTz".into()), ("service", "llm".into()), ("rtt", 0.5.into()), ("direct", true.into())];
        assert_eq!(
            rendered(Level::INFO, "tunnel opened", &fields, false),
            "3:04PM INF tunnel opened peer=12D3KooW…QnTz service=llm rtt=0.5 direct=true\n"
        );
        let levels = [
            (Level::TRACE, "TRC"),
            (Level::DEBUG, "DBG"),
            (Level::INFO, "INF"),
            (Level::WARN, "WRN"),
            (Level::ERROR, "ERR"),
        ];
        for (level, name) in levels {
            assert_eq!(rendered(level, "m", &[], false), format!("3:04PM {name} m\n"));
        }
    }

    #[test]
    fn clock_has_twelve_hours() {
        for (time, shown) in [
            (datetime!(2026-01-01 0:05 UTC), "12:05AM"),
            (datetime!(2026-01-01 12:00 UTC), "12:00PM"),
            (datetime!(2026-01-01 23:59 UTC), "11:59PM"),
            (datetime!(2026-01-01 9:09 +1), "9:09AM"),
        ] {
            assert_eq!(line(time, Level::INFO, &Fields::default(), false), format!("{shown} INF \n"));
        }
    }

    #[test]
    fn colours_what_zerolog_colours() {
        assert_eq!(
            rendered(Level::ERROR, "failed", &[("error", "no route".into()), ("n", 1.into())], true),
            "\u{1b}[90m3:04PM\u{1b}[0m \u{1b}[31mERR\u{1b}[0m \u{1b}[1mfailed\u{1b}[0m \
             \u{1b}[36merror=\u{1b}[0m\u{1b}[1;31m\"no route\"\u{1b}[0m \u{1b}[36mn=\u{1b}[0m1\n"
        );
        assert_eq!(rendered(Level::DEBUG, "m", &[], true), "\u{1b}[90m3:04PM\u{1b}[0m DBG m\n");
    }

    #[test]
    fn quotes_what_needs_quotes() {
        for (value, quoted) in [
            ("plain", "plain"),
            ("/ip4/1.2.3.4/tcp/80", "/ip4/1.2.3.4/tcp/80"),
            ("a b", "\"a b\""),
            ("", ""),
            ("it's", "it's"),
            ("say \"x\"", "\"say \\\"x\\\"\""),
            ("a\\b", "\"a\\\\b\""),
            ("a\nb\tc\r", "\"a\\nb\\tc\\r\""),
            ("\u{1b}[2J", "\"\\x1b[2J\""),
            ("\u{202e}evil", "\"\\u202eevil\""),
            ("a\u{200b}b", "\"a\\u200bb\""),
            ("\u{e0041}", "\"\\U000e0041\""),
            ("größe", "größe"),
        ] {
            assert_eq!(rendered(Level::INFO, "m", &[("v", value.into())], false), format!("3:04PM INF m v={quoted}\n"));
        }
        assert_eq!(rendered(Level::INFO, "two\nlines \"x\" \u{7}", &[], false), "3:04PM INF two\\nlines \"x\" \\x07\n");
    }

    proptest! {
        #[test]
        fn a_line_is_one_line_and_shows_what_it_is(message in any::<String>(), value in any::<String>()) {
            let text = rendered(Level::INFO, &message, &[("v", value.into())], false);
            let body = text.strip_suffix('\n').unwrap();
            let is_inert = body.chars().all(|c| !c.is_control() && is_shown(c));
            prop_assert!(is_inert, "{:?}", body);
        }
    }
}
