//! What a node can be told, from all the places where it can be said.
//!
//! [`Settings`] are what was **said**: each part may be left unsaid. A configuration file is one such layer
//! ([`Settings::read`]), flags and environment variables are another; [`Settings::over`] lays one over the other, and
//! [`Settings::resolve`] fills in the defaults, checks what remains to be checked, and gives the node's configuration.
//! Nothing after that knows where a value came from.
//!
//! ```text
//! flags, environment ─▶ Settings ─┐
//!                                 ├─ over ─▶ Settings ─ resolve ─▶ node::Config
//! file (YAML) ────────▶ Settings ─┘
//! ```
//!
//! **Invariant.** Whatever can be said in one layer can be said in the other, because they are one type. A value of the
//! wrong kind does not parse, and an unknown key is refused with its place and with those that are known.
//!
//! Not here: the token itself, which belongs into a file of its own, and flags, which belong to the command.

mod error;
mod export;
mod front;
mod limits;
mod log;
mod relay;
mod settings;
#[cfg(test)]
mod tests;
mod text;
mod transports;
mod word;

pub use error::{Error, ParseError};
pub use export::ExportSettings;
pub use front::FrontSettings;
pub use limits::LimitSettings;
pub use log::LogSettings;
pub use relay::RelaySettings;
pub use settings::Settings;
pub use transports::WebSocketSettings;
pub use word::{Address, Label, Listen, Meeting, ParsePickingError, ParseWordError, Picking, Serving, Span};
