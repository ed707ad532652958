//! The front's half of the beginning: header out, verdict in.

use std::io;

use super::{DialError, Header, Line, Load, MessageError, Refusal, TunnelStream, Verdict, read_verdict, write_header};
use crate::ledger::NodeId;

/// Why a carrier did not become a tunnel. Nothing of the client has left the front.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The carrier broke before the verdict, or what came was no verdict.
    #[error("the tunnel broke before the verdict: {0}")]
    Broken(#[source] io::Error),
    /// The worker answered and declined.
    #[error("refused: {0}")]
    Refused(Refusal),
}

impl OpenError {
    /// The same, of a tunnel to `node`.
    pub fn at(self, node: NodeId) -> DialError {
        match self {
            Self::Broken(source) => DialError::Unreachable { node, source },
            Self::Refused(reason) => DialError::Refused { node, reason },
        }
    }
}

/// Sends `header` over a fresh line and waits for the verdict. The caller bounds the wait; dropping the future drops the
/// carrier, which the worker sees as a reset.
///
/// # Errors
/// See [`OpenError`]; in every case another worker may be tried. A header whose service name is not valid is refused as
/// `Malformed` without a byte sent.
pub async fn open(line: impl Into<Line>, header: &Header) -> Result<(TunnelStream, Load), OpenError> {
    let mut line = line.into();
    let exchange = async {
        write_header(&mut line.carrier, header).await?;
        read_verdict(&mut line.carrier).await
    };
    match exchange.await {
        Ok(Verdict::Accepted(load)) => Ok((TunnelStream::over(line), load)),
        Ok(Verdict::Refused(reason)) => {
            line.end().await;
            Err(OpenError::Refused(reason))
        }
        Err(MessageError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(OpenError::Broken(io::Error::new(error.kind(), "the worker closed the stream")))
        }
        Err(MessageError::Io(error)) => Err(OpenError::Broken(error)),
        Err(_) if !super::is_service_name(&header.service) => Err(OpenError::Refused(Refusal::Malformed)),
        Err(error) => Err(OpenError::Broken(io::Error::new(io::ErrorKind::InvalidData, error))),
    }
}
