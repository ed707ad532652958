//! The replicated map of signed records that p2p-fed nodes gossip.
//!
//! Each **node** makes one [`Statement`] about itself, and signs it as a numbered [`Record`]. A [`Ledger`] holds the
//! newest record of each node; all ledgers of a network end up equal. It is a state machine without a clock, files,
//! sockets or randomness of its own: see [`Ledger`] for how to drive it.
//!
//! ```text
//!  Input ──▶ ledger ──▶ Output
//!              ├── own       what this node says, and under which number
//!              ├── replica   owner → newest record: join, freshness, floors, quota, snapshot
//!              ├── rules     who may take part and offer what, by the network's issuer
//!              ├── peers     who is up, what they may pass on, when to sync
//!              ├── sync      one session that makes two ledgers equal, by sketch or by pages
//!              └── conduct   who broke the rules, and when that is enough
//!  bytes:  wire ◀ signed, lease ◀ rumour (gossip) ◀ frame (sync) ▶ sketch
//! ```
//!
//! The formats on the wire are described where they are read and written: `wire` (fields), `signed` (records), `lease`,
//! `rumour` (gossip payloads), `frame` (sync frames), `sketch` (symbols), `credential` (what a node may do, by its
//! network's issuer), `decree` (what the issuer decided for all).

mod bucket;
mod conduct;
mod config;
mod counters;
mod credential;
mod decree;
mod dice;
mod event;
mod floors;
mod frame;
mod glob;
mod issuer;
mod lease;
mod ledger;
mod moment;
mod node_id;
mod own;
mod peers;
mod record;
mod replica;
mod rules;
mod rumour;
mod signed;
mod sketch;
mod sync;
mod view;
mod wire;

pub use config::{Config, ConfigError};
pub use counters::Counters;
pub use credential::{
    CREDENTIAL_MAX, Credential, CredentialError, Grant, INVITATION_MAX, Invitation, ParseSerialError, Roles, Serial,
    SignedInvitation,
};
pub use decree::{DECREE_MAX, Decree, DecreeError, DecreeId, Rotation, Sealed, SignedDecree, UnverifiedDecree};
pub use event::{Input, Offence, Output, Verdict};
pub use frame::FRAME_MAX;
pub use glob::{ParseGlobError, ServiceGlob};
pub use issuer::{IssuerKey, NotIssuer};
pub use ledger::Ledger;
pub use moment::Moment;
pub use node_id::{NodeId, ParseNodeIdError};
pub use record::{
    ADDRESS_MAX, ADDRESSES_MAX, LABELS_MAX, MODEL_NAME_MAX, MODELS_BYTES_MAX, MODELS_MAX, Model, NAME_MAX, NetworkId,
    Protocol, Record, SERVICES_MAX, Service, Statement, StatementError, TTL_MAX, TTL_MIN, is_name,
};
pub use rumour::{RUMOUR_MAX, message_id};
pub use signed::{Forged, RECORD_MAX, RecordId, SignedRecord, Unverified};
pub use view::{Entry, View};
pub use wire::WireError;
