//! Somebody who looks at what passes through a splice.

use super::Load;

/// Sees the bytes of a splice on their way, in the chunks in which they were read. It may not hold them up: each call is made
/// within a poll.
///
/// An empty chunk is the end of that direction.
pub trait Watch {
    /// Bytes from the local side that are about to be written into the tunnel. A report that is returned leaves with them.
    fn up(&mut self, bytes: &[u8]) -> Option<Load>;

    /// Bytes from the tunnel that are about to be written to the local side.
    fn down(&mut self, bytes: &[u8]);

    /// From now on the tunnel takes nothing (`true`), or takes bytes again.
    fn stalled(&mut self, is_stalled: bool);
}

/// Nobody.
impl Watch for () {
    fn up(&mut self, _: &[u8]) -> Option<Load> {
        None
    }

    fn down(&mut self, _: &[u8]) {}

    fn stalled(&mut self, _: bool) {}
}
