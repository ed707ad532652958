//! p2p-fed: a federated, load-balancing tunnel proxy for machines that share one token.
//!
//! A **node** joins a **network** named by a **token**. It gossips one signed **record** about itself into a replicated
//! **ledger** that says which node offers which **service**. A **front** keeps a **table** of those offers, **picks** a
//! **worker** per connection or request, and carries the bytes through a **tunnel** to that worker's **backend**.
//!
//! The modules form layers, and imports point down only:
//!
//! ```text
//! 5  node      config      telemetry       composition
//! 4  worker    front       api   edgevpn   roles; they never import each other
//! 3  gossip    tunnel      balance         mechanisms
//! 2  net                                   the only module that names libp2p's Swarm
//! 1  token     identity  proxy_protocol  certificate
//! 0  p2p-fed-ledger (its own package)      pure
//! ```

pub mod api;
pub mod balance;
pub mod certificate;
pub mod config;
pub mod direct;
pub mod edgevpn;
pub mod front;
pub mod gossip;
pub mod identity;
pub mod net;
pub mod node;
pub mod proxy_protocol;
pub mod telemetry;
pub mod token;
pub mod tunnel;
pub mod worker;

pub use p2p_fed_ledger as ledger;
