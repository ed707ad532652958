//! Who this node is, and what it must not lose.
//!
//! A node is its Ed25519 key ([`Identity`]). It keeps the key, the number of its last record and what it knew of the
//! others between runs, in a folder of its own ([`StateDir`]); what lives only as long as the process, the control socket above all, lies in the runtime
//! folder ([`RuntimeDir`]).
//!
//! ```text
//! <base>/<network>/<name>/identity    the key, 0600
//!                         seq         number of the last record
//!                         snapshot    what it knew of the others
//!                         spent       which invitations for one machine are used up
//!                         generation  the newest secret of the network, if that is not the token's
//!                         lock        held while a process uses the folder
//! <runtime>/<name>.lock               held while a process on this host goes by the name
//!           <name>.sock               its control socket (made elsewhere)
//! ```
//!
//! Whoever keeps a network's issuer has its key in a file of its own ([`IssuerFile`]), with what it decided last beside it
//! ([`DecreeFile`]):
//!
//! ```text
//! <config>/issuers/<network>.key           the key, 0600
//!                  <network>.key.decree    its last decree
//!                  <network>.key.lock      held while the next one is made
//! ```
//!
//! # Invariants
//!
//! * Two processes never share an identity, nor, on one host, a name: whoever uses a name holds both locks. They are
//!   the kernel's (`flock`), so they end with the process however it dies, and nothing is ever left to clean up. Lock
//!   files themselves stay: a file that is removed while another process waits for it locks nobody out.
//! * A file that another user could have read, written or planted is not used: folders are 0700, files 0600, symbolic
//!   links are not followed, and what is wrong is said in one line together with the cure.
//! * A file is there whole or not at all, also after a power cut: it is written beside its place, synced and renamed.
//!
//! Not here: what a snapshot says, the socket itself, and the choice of names among other nodes of the network.

mod decree_file;
mod error;
mod issuer_file;
mod key_file;
mod keypair;
mod lock;
mod name;
mod runtime_dir;
mod safe_file;
mod safe_folder;
mod seq_file;
mod snapshot_file;
mod spent_file;
mod state_dir;

pub use decree_file::DecreeFile;
pub use error::Error;
pub use issuer_file::IssuerFile;
pub use key_file::KeyFile;
pub use keypair::Identity;
pub use name::{NodeName, ParseNodeNameError};
pub use runtime_dir::RuntimeDir;
pub use snapshot_file::Snapshot;
pub use spent_file::SpentFile;
pub use state_dir::StateDir;

#[cfg(test)]
mod tests;
