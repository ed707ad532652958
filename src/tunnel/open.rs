//! The front's half of the beginning: header out, verdict in.

use std::io;

use super::{
    DialError, Early, Header, Leftover, Line, Load, MessageError, Refusal, TunnelStream, Verdict, frame::Framed,
    header::write_header_and, read_verdict,
};
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
    open_early(line, header, &Early::default()).await
}

/// The same, with the client's first bytes in one flight with the header.
///
/// # Errors
/// See [`OpenError`]. After `Broken` a backend may have got the bytes; after `Refused` none did.
pub async fn open_early(
    line: impl Into<Line>,
    header: &Header,
    early: &Early,
) -> Result<(TunnelStream, Load), OpenError> {
    let mut line = line.into();
    let exchange = async {
        if super::is_service_name(&header.service) {
            write_header_and(&mut line.carrier, header, &early.send()).await?;
        } else {
            return Err(MessageError::Malformed("not the name of a service"));
        }
        read_verdict(&mut line.carrier).await
    };
    match exchange.await {
        Ok(Verdict::Accepted(load)) => Ok((TunnelStream::over(line), load)),
        Ok(Verdict::Refused(reason)) => {
            if let Some(home) = line.home {
                home(Leftover(Box::new(Framed::refused(line.carrier))));
            }
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
