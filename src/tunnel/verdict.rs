//! The worker's answer to a header.
//!
//! In the outer form of every message (a version byte, a big-endian `u16` length, the body):
//!
//! | verdict, version 1 | bytes | |
//! |---|---|---|
//! | version | 1 | 1 |
//! | length of the body | 2 | at most [`MAX_VERDICT`] |
//! | accepted | 1 + 36 | 0, a report ([`Load`]) |
//! | or refused | 1 + 1 | 1, the code of the [`Refusal`] |
//!
//! A refusal code that the reader does not know is still a refusal.

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Load, MessageError,
    message::{Fields, read_message, write_message},
};

/// Bytes in the body of a verdict at most. Version 1 needs 37; the rest is room for later fields.
pub const MAX_VERDICT: usize = 256;

/// The worker's answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The backend is connected; bytes may flow.
    Accepted(Load),
    /// Not here, not now; nothing reached a backend.
    Refused(Refusal),
}

/// Why a worker declined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The header is not of a version or form that the worker reads.
    #[error("the header was not understood")]
    Malformed,
    /// The node offers no such service.
    #[error("no such service here")]
    NoSuchService,
    /// The node does not let this front use the service.
    #[error("not allowed")]
    NotAllowed,
    /// All slots are taken.
    #[error("all connections are in use")]
    Full,
    /// The node takes no new work.
    #[error("draining")]
    Draining,
    /// The backend did not take the connection.
    #[error("the backend is not reachable")]
    BackendUnreachable,
    /// The service's backend speaks something else than the tunnel carries: datagrams and bytes don't mix.
    #[error("the service does not speak that protocol")]
    WrongProtocol,
    /// A reason of a later version.
    #[error("for a reason this version does not know (code {0})")]
    Other(u8),
}

impl Refusal {
    fn code(self) -> u8 {
        match self {
            Self::Malformed => 1,
            Self::NoSuchService => 2,
            Self::NotAllowed => 3,
            Self::Full => 4,
            Self::Draining => 5,
            Self::BackendUnreachable => 6,
            Self::WrongProtocol => 7,
            Self::Other(code) => code,
        }
    }

    fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Malformed,
            2 => Self::NoSuchService,
            3 => Self::NotAllowed,
            4 => Self::Full,
            5 => Self::Draining,
            6 => Self::BackendUnreachable,
            7 => Self::WrongProtocol,
            code => Self::Other(code),
        }
    }
}

/// Writes `verdict` and flushes.
///
/// # Errors
/// `Io` when the carrier fails.
pub async fn write_verdict<W: AsyncWrite + Unpin>(to: &mut W, verdict: &Verdict) -> Result<(), MessageError> {
    write_message(to, &verdict.encode(), &[]).await
}

/// Reads one verdict, and not a byte beyond it.
///
/// # Errors
/// Any of [`MessageError`]; the tunnel is then of no use.
pub async fn read_verdict<R: AsyncRead + Unpin>(from: &mut R) -> Result<Verdict, MessageError> {
    Verdict::decode(&read_message::<MAX_VERDICT, _>(from).await?)
}

impl Verdict {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Accepted(load) => {
                let mut body = vec![0];
                load.encode(&mut body);
                body
            }
            Self::Refused(reason) => vec![1, reason.code()],
        }
    }

    fn decode(body: &[u8]) -> Result<Self, MessageError> {
        let mut fields = Fields(body);
        match fields.byte()? {
            0 => Ok(Self::Accepted(Load::decode(&mut fields)?)),
            1 => Ok(Self::Refused(Refusal::from_code(fields.byte()?))),
            _ => Err(MessageError::Malformed("unknown kind of verdict")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tunnel::load::tests::any_load;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn any_verdict() -> impl Strategy<Value = Verdict> {
        prop_oneof![
            any_load().prop_map(Verdict::Accepted),
            any::<u8>().prop_map(|code| Verdict::Refused(Refusal::from_code(code)))
        ]
    }

    proptest! {
        #[test]
        fn a_verdict_comes_back_and_the_bytes_behind_it_stay(verdict in any_verdict(), behind in any::<Vec<u8>>()) {
            let mut bytes = Vec::new();
            block_on(write_verdict(&mut bytes, &verdict)).unwrap();
            bytes.extend_from_slice(&behind);
            let mut from = bytes.as_slice();
            prop_assert_eq!(block_on(read_verdict(&mut from)).unwrap(), verdict);
            prop_assert_eq!(from, behind.as_slice());
        }

        #[test]
        fn arbitrary_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
            let _ = block_on(read_verdict(&mut bytes.as_slice()));
            let _ = Verdict::decode(&bytes);
        }
    }

    #[test]
    fn the_bytes_are_as_documented() {
        let mut bytes = Vec::new();
        let load =
            Load { in_flight: 3, slots: 8, number: 9, yours: 2, received: 7, queued: 1, rate: 1.0, ..Load::default() };
        block_on(write_verdict(&mut bytes, &Verdict::Accepted(load))).unwrap();
        block_on(write_verdict(&mut bytes, &Verdict::Refused(Refusal::Full))).unwrap();
        let report = [
            0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7, 0, 1, 0x3f, 0x80, 0, 0,
            255, 0,
        ];
        assert_eq!(bytes, [&[1, 0, 37, 0][..], &report, &[1, 0, 2, 1, 4]].concat());
    }

    #[test]
    fn what_is_cut_or_of_an_unknown_kind_is_no_verdict_and_an_unknown_code_is_a_refusal() {
        for body in [&[][..], &[0, 0, 0, 0, 3, 0, 0, 0], &[1], &[2, 4]] {
            assert!(matches!(Verdict::decode(body), Err(MessageError::Malformed(_))), "{body:?}");
        }
        assert_eq!(Verdict::decode(&[1, 99]).unwrap(), Verdict::Refused(Refusal::Other(99)));
    }
}
