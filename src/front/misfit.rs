//! A listener that takes what the workers of its service can't.

use super::Mode;
use crate::ledger::Protocol;

/// Why none of a service's workers takes what a front carries. Datagrams and bytes don't mix; everything else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The front takes datagrams, and no worker does.
    #[error("no worker takes datagrams; serve it without mode udp, or expose a target udp://HOST:PORT")]
    Bytes,
    /// The front takes bytes, and every worker wants datagrams.
    #[error("every worker takes datagrams; serve it with mode udp")]
    Datagrams,
}

impl Misfit {
    /// Whether a front in `mode` and workers that announce `protocols` have nothing in common. Without workers they may.
    pub fn between(mode: Mode, protocols: impl IntoIterator<Item = Protocol>) -> Option<Self> {
        let mut protocols = protocols.into_iter().map(|protocol| protocol == Protocol::Udp).peekable();
        protocols.peek()?;
        let wanted = mode == Mode::Udp;
        let misfit = if wanted { Self::Bytes } else { Self::Datagrams };
        protocols.all(|is_udp| is_udp != wanted).then_some(misfit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_and_bytes_do_not_mix_and_one_worker_that_fits_is_enough() {
        use Protocol::{Http, Tcp, Udp};
        assert_eq!(Misfit::between(Mode::Udp, []), None);
        assert_eq!(Misfit::between(Mode::Udp, [Udp, Http]), None);
        assert_eq!(Misfit::between(Mode::Udp, [Http, Tcp]), Some(Misfit::Bytes));
        for mode in [Mode::Auto, Mode::Http, Mode::Tcp] {
            assert_eq!(Misfit::between(mode, []), None);
            assert_eq!(Misfit::between(mode, [Udp, Tcp]), None);
            assert_eq!(Misfit::between(mode, [Udp, Udp]), Some(Misfit::Datagrams));
        }
    }
}
