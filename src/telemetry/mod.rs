//! What the node says about itself on stderr, in zerolog's look.
//!
//! For people ([`Format::Console`]):
//!
//! ```text
//! 3:04PM INF tunnel opened service=llm worker=gpu1 peer=12D3KooW…QnTz
//! 3:05PM WRN worker left out error="connection refused" worker=gpu1
//! ```
//!
//! and for programs ([`Format::Json`]): one object a line with zerolog's keys `level`, `time` (RFC 3339, UTC) and `message`,
//! then the fields.
//!
//! # Words
//!
//! * **Field**: a name and a value of an event. Those of the spans around it follow its own, the innermost span's first; where
//!   a name occurs twice, the innermost value stands. Events of other crates carry their `target`.
//! * **Filter**: what is said at all; [`Config::filter`] has the grammar.
//!
//! # Invariants
//!
//! * One event is one line, whatever is in it: control characters, and others that a terminal would not show as they are, appear
//!   escaped. Peers choose names and reasons; they do not choose what a log looks like.
//! * Logging never stops the node: a stderr that is closed or full is ignored.
//!
//! Not here: metrics, and what may be logged. Secrets have no `Display` and a masked `Debug` where they are defined.

mod console;
mod fields;
mod filter;
mod json;
mod lines;

use std::{ffi::OsStr, io, io::IsTerminal, str::FromStr};

use tracing_subscriber::{EnvFilter, Registry, layer::SubscriberExt, reload};

use lines::Lines;

/// How the node logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// For people or for programs.
    pub format: Format,
    /// What is said, separated by commas: a level alone (`trace`, `debug`, `info`, `warn`, `error`) is p2p-fed's own;
    /// `MODULE=LEVEL` is that of a module or of another crate, as in `debug,p2p_fed::front=trace,libp2p_swarm=info` (the
    /// grammar of `EnvFilter` of tracing-subscriber); `off` silences all that is not named. Empty: p2p-fed at `info`, others at
    /// `warn`, those that warn of everyday things at `error`.
    pub filter: String,
    /// Whether lines for people are coloured.
    pub colour: Colour,
}

/// What a line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Console,
    /// One JSON object a line.
    Json,
}

/// Whether lines for people are coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Why logging could not be set up or changed. What was set before still is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A part of the filter makes no sense.
    #[error("{0:?} is no log filter: use trace, debug, info, warn, error or off, or MODULE=LEVEL, separated by commas")]
    Filter(String),
    /// The format has no such name.
    #[error("{0:?} is no log format: use console or json")]
    Format(String),
    /// Logging is set up once in a process.
    #[error("logging is set up already")]
    SetUpAlready,
    /// The subscriber is gone.
    #[error("logging has ended")]
    Ended,
}

/// Changes logging while the node runs.
#[derive(Clone, Debug)]
pub struct Handle {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Handle {
    /// Replaces the filter, from the next event on.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`] if it makes no sense; the old one stays.
    pub fn set_filter(&self, filter: &str) -> Result<(), Error> {
        self.filter.reload(filter::parse(filter)?).map_err(|_| Error::Ended)
    }
}

/// Sets logging up for the whole process.
///
/// # Errors
///
/// If the filter makes no sense, or if logging was set up before.
pub fn init(config: &Config) -> Result<Handle, Error> {
    let is_coloured = is_coloured(config.colour, io::stderr().is_terminal(), std::env::var_os("NO_COLOR").as_deref());
    let lines = Lines::new(config.format, is_coloured, lines::local_now, io::stderr());
    let (subscriber, handle) = subscriber(&config.filter, lines)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| Error::SetUpAlready)?;
    Ok(handle)
}

fn subscriber<W>(
    filter: &str,
    lines: Lines<W>,
) -> Result<(impl tracing::Subscriber + Send + Sync + 'static, Handle), Error>
where
    W: io::Write + Send + 'static,
{
    let (filter, handle) = reload::Layer::new(filter::parse(filter)?);
    Ok((tracing_subscriber::registry().with(filter).with(lines), Handle { filter: handle }))
}

/// <https://no-color.org>: set and not empty.
fn is_coloured(colour: Colour, is_terminal: bool, no_color: Option<&OsStr>) -> bool {
    match colour {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => is_terminal && no_color.is_none_or(OsStr::is_empty),
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "console" => Ok(Self::Console),
            "json" => Ok(Self::Json),
            _ => Err(Error::Format(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{lines::tests::Captured, *};

    #[test]
    fn the_filter_changes_at_run_time_and_a_bad_one_changes_nothing() {
        let captured = Captured::default();
        let (subscriber, handle) = subscriber("", captured.lines(Format::Console, false)).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let say = || {
                tracing::debug!("a detail");
                tracing::info!("an event");
            };
            say();
            handle.set_filter("debug").unwrap();
            say();
            assert_eq!(handle.set_filter("loud"), Err(Error::Filter("loud".into())));
            say();
            handle.set_filter("warn").unwrap();
            say();
        });
        let levels: Vec<_> = captured.text().lines().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect();
        assert_eq!(levels, ["INF", "DBG", "INF", "DBG", "INF"]);
    }

    #[test]
    fn others_are_quieter_than_we_are() {
        let captured = Captured::default();
        let (subscriber, _handle) = subscriber("", captured.lines(Format::Console, false)).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "reqwest", "chatter");
            tracing::warn!(target: "reqwest", "trouble");
            tracing::warn!(target: "libp2p_swarm::connection", "an everyday thing");
            tracing::error!(target: "libp2p_swarm::connection", "real trouble");
            tracing::info!(target: "p2p_fed_ledger", "ours");
        });
        let said = "3:04PM WRN trouble target=reqwest\n3:04PM ERR real trouble target=libp2p_swarm::connection\n3:04PM INF ours\n";
        assert_eq!(captured.text(), said);
    }

    #[test]
    fn a_handle_outlives_what_it_changes() {
        let (subscriber, handle) = subscriber("", Captured::default().lines(Format::Json, false)).unwrap();
        drop(subscriber);
        assert_eq!(handle.set_filter("info"), Err(Error::Ended));
    }

    #[test]
    fn colours_are_for_terminals_and_whoever_wants_them() {
        assert!(is_coloured(Colour::Auto, true, None));
        assert!(is_coloured(Colour::Auto, true, Some("".as_ref())));
        assert!(!is_coloured(Colour::Auto, true, Some("1".as_ref())));
        assert!(!is_coloured(Colour::Auto, false, None));
        assert!(is_coloured(Colour::Always, false, Some("1".as_ref())));
        assert!(!is_coloured(Colour::Never, true, None));
    }

    #[test]
    fn formats_have_names() {
        assert_eq!("json".parse(), Ok(Format::Json));
        assert_eq!("console".parse(), Ok(Format::Console));
        assert_eq!("xml".parse::<Format>(), Err(Error::Format("xml".into())));
    }
}
