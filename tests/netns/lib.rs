//! The internet of the lab: what lies between the networks of a test, as a thread of the test's own process.
//!
//! A host or router is attached by a TUN device in its namespace: the kernel routes packets into it as into any other device, and
//! the [`Internet`] reads them there, asks the [`Line`] between the two ends what becomes of each, and writes it into the other
//! end's device when its time has come. The kernel here has no `netem`, and what decides is a few lines that a test can look at.
//!
//! * [`Line`] decides: pure, seeded, time handed in.
//! * [`Internet`] reads, waits and writes.
//! * [`inside`] does something in a namespace: what is opened there stays there.
//!
//! Unicast alone, IPv4 and IPv6: networks that need more, a LAN with multicast say, are bridges of the kernel. A seed gives the
//! same decisions for the same packets; which packets are sent when is up to kernels and programs, so a run is not repeated
//! exactly.

mod internet;
mod line;
mod space;

pub use internet::{Internet, Port};
pub use line::{Counts, Line, Quality};
pub use space::inside;
