//! A line for programs.

use serde::ser::{SerializeMap, Serializer};
use time::{OffsetDateTime, UtcOffset, macros::format_description};
use tracing::Level;

use super::fields::Fields;

/// `{"level":"info","time":"2026-01-01T15:04:05.000Z","message":"…",…}`, with the line's end.
pub(super) fn line(time: OffsetDateTime, level: Level, fields: &Fields) -> String {
    let rfc3339 = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let time = time.to_offset(UtcOffset::UTC).format(rfc3339).unwrap_or_default();
    let mut line = Vec::new();
    let written = object(&mut line, &time, level, fields);
    debug_assert!(written.is_ok(), "text keys and plain values always are JSON");
    line.push(b'\n');
    String::from_utf8(line).unwrap_or_default()
}

fn object(line: &mut Vec<u8>, time: &str, level: Level, fields: &Fields) -> serde_json::Result<()> {
    let mut serializer = serde_json::Serializer::new(line);
    let mut object = serializer.serialize_map(None)?;
    object.serialize_entry("level", name(level))?;
    object.serialize_entry("time", time)?;
    object.serialize_entry("message", &fields.message)?;
    fields.iter().try_for_each(|(name, value)| object.serialize_entry(name, value))?;
    object.end()
}

fn name(level: Level) -> &'static str {
    match level {
        Level::TRACE => "trace",
        Level::DEBUG => "debug",
        Level::INFO => "info",
        Level::WARN => "warn",
        Level::ERROR => "error",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn has_zerologs_keys() {
        let mut fields = Fields::saying("tunnel opened");
        fields.set("service", "llm".into());
        fields.set("attempt", 2.into());
        assert_eq!(
            line(datetime!(2026-01-01 15:04:05.678 +1), Level::WARN, &fields),
            "{\"level\":\"warn\",\"time\":\"2026-01-01T14:04:05.678Z\",\"message\":\"tunnel opened\",\"service\":\"llm\",\"attempt\":2}\n"
        );
    }

    #[test]
    fn levels_have_zerologs_names() {
        let all = [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR];
        assert_eq!(all.map(name), ["trace", "debug", "info", "warn", "error"]);
    }

    proptest! {
        #[test]
        fn is_one_line_that_reads_back(message in any::<String>(), value in any::<String>()) {
            let mut fields = Fields::saying(&message);
            fields.set("v", value.clone().into());
            let text = line(datetime!(2026-01-01 0:00 UTC), Level::INFO, &fields);
            prop_assert_eq!(text.matches('\n').count(), 1);
            let back: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&back["message"], &Value::from(message));
            prop_assert_eq!(&back["v"], &Value::from(value));
        }
    }
}
