//! What is said at all.

use tracing_subscriber::{EnvFilter, filter::Directive};

use super::Error;

/// Where nobody says otherwise. Names are prefixes; the longest that fits decides. The crates at `error` warn of what is
/// everyday life among peers: connections refused, reset and timed out.
const USUAL: &str =
    "warn,libp2p=error,hickory=error,multistream_select=error,quinn=error,rustls=error,yamux=error,p2p_fed=info";

/// What a part of a filter that is only a level speaks of.
const OURS: &str = "p2p_fed";

const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];

/// Understands [`super::Config::filter`].
pub(super) fn parse(filter: &str) -> Result<EnvFilter, Error> {
    let mut parts = vec![USUAL.to_owned()];
    for part in filter.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let level = part.to_ascii_lowercase();
        if level == "off" {
            parts = vec![level];
        } else if LEVELS.contains(&level.as_str()) {
            parts.push(format!("{OURS}={level}"));
        } else if part.contains(['=', '[']) && part.parse::<Directive>().is_ok() {
            // A bare word would be taken for a module, and a misspelt level would say everything of a module nobody has.
            parts.push(part.to_owned());
        } else {
            return Err(Error::Filter(part.to_owned()));
        }
    }
    // Values of span fields are compared as text: an expression could take for ever to match.
    EnvFilter::builder().with_regex(false).parse(parts.join(",")).map_err(|_| Error::Filter(filter.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(filter: &str) -> String {
        parse(filter).unwrap().to_string()
    }

    #[test]
    fn a_level_alone_is_ours() {
        for filter in ["debug", "DEBUG", " debug , "] {
            let shown = shown(filter);
            assert!(shown.contains("p2p_fed=debug") && shown.contains("libp2p=error"), "{shown}");
            assert!(shown.split(',').any(|part| part == "warn"), "{shown}");
        }
    }

    #[test]
    fn modules_have_their_own() {
        let shown = shown("info,p2p_fed::front=trace,libp2p_swarm=debug,[conn{peer=\"a\"}]=trace");
        for part in ["p2p_fed=info", "p2p_fed::front=trace", "libp2p_swarm=debug", "libp2p=error"] {
            assert!(shown.split(',').any(|found| found == part), "{shown}");
        }
        assert!(shown.contains("[conn"), "{shown}");
    }

    #[test]
    fn off_is_off() {
        assert_eq!(shown("off"), "off");
        assert_eq!(shown("off,p2p_fed::net=warn"), "p2p_fed::net=warn,off");
    }

    #[test]
    fn nonsense_is_named() {
        for (filter, part) in [
            ("loud", "loud"),
            ("info,inof", "inof"),
            ("p2p_fed=loud", "p2p_fed=loud"),
            ("a=b=c", "a=b=c"),
            ("p2p_fed", "p2p_fed"),
            ("debug,[x", "[x"),
            ("=", "="),
        ] {
            assert_eq!(parse(filter).err(), Some(Error::Filter(part.into())), "{filter}");
        }
    }

    proptest! {
        #[test]
        fn no_filter_makes_it_panic(filter in "(info|p2p_fed|[a-z:=,\\[\\]{}\"]){0,20}") {
            let _ = parse(&filter);
        }
    }
}
