//! The worker's half of the beginning: header in, verdict out.

use tokio::io::AsyncWriteExt;

use super::{
    Header, Leftover, Line, Load, MessageError, Refusal, TunnelStream, Verdict, frame::Framed, read_header,
    write_verdict,
};

/// A tunnel whose header was read and whose verdict is still to be given. Dropping it is a reset.
#[derive(Debug)]
pub struct Incoming {
    line: Line,
    header: Header,
}

impl Incoming {
    /// Reads the header. One that is not understood is answered with [`Refusal::Malformed`]. The caller bounds the wait.
    ///
    /// # Errors
    /// The front did not send a header that this version reads.
    pub async fn read(line: impl Into<Line>) -> Result<Self, MessageError> {
        let mut line = line.into();
        match read_header(&mut line.carrier).await {
            Ok(header) => Ok(Self { line, header }),
            Err(error @ MessageError::Io(_)) => Err(error),
            Err(error) => {
                // What is wrong with the header says more than how the answer to it failed.
                let _ = refuse(line, Refusal::Malformed).await;
                Err(error)
            }
        }
    }

    /// What the front wants.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Tells the front that bytes may flow.
    ///
    /// # Errors
    /// The carrier broke: the front has given up, or is gone.
    pub async fn accept(mut self, load: Load) -> Result<TunnelStream, MessageError> {
        write_verdict(&mut self.line.carrier, &Verdict::Accepted(load)).await?;
        Ok(TunnelStream::over(self.line))
    }

    /// Tells the front why not.
    ///
    /// # Errors
    /// The carrier broke: the front has given up, or is gone.
    pub async fn refuse(mut self, reason: Refusal) -> Result<(), MessageError> {
        write_verdict(&mut self.line.carrier, &Verdict::Refused(reason)).await?;
        match self.line.home {
            Some(home) => home(Leftover(Box::new(Framed::refusing(self.line.carrier)))),
            // The front may have read the verdict and closed first.
            None => drop(self.line.carrier.shutdown().await),
        }
        Ok(())
    }
}

/// Declines a tunnel whose header was not read or not understood, and closes the carrier, be it lent or not, in good order
/// so that the verdict arrives.
///
/// # Errors
/// The carrier broke: the front has given up, or is gone.
pub async fn refuse(line: impl Into<Line>, reason: Refusal) -> Result<(), MessageError> {
    let mut line = line.into();
    write_verdict(&mut line.carrier, &Verdict::Refused(reason)).await?;
    // The front may have read the verdict and closed first.
    let _ = line.carrier.shutdown().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::tunnel::{Class, OpenError, TraceId, open};

    fn header() -> Header {
        Header { service: "llm".into(), class: Class::Tcp, trace: TraceId::random(), client: None }
    }

    #[tokio::test]
    async fn an_accepted_tunnel_carries_bytes_at_once() {
        let (near, far) = duplex(64);
        let wanted = header();
        let load = Load { in_flight: 2, slots: 5, ..Load::default() };
        let worker = async {
            let incoming = Incoming::read(far).await.unwrap();
            assert_eq!(*incoming.header(), wanted);
            let mut tunnel = incoming.accept(load).await.unwrap();
            // A server that speaks first: its bytes follow the verdict closely.
            tunnel.write_all(b"hello").await.unwrap();
            tunnel.shutdown().await.unwrap();
            let mut heard = String::new();
            tunnel.read_to_string(&mut heard).await.unwrap();
            heard
        };
        let front = async {
            let (mut tunnel, told) = open(near, &wanted).await.unwrap();
            assert_eq!(told, load);
            let mut heard = String::new();
            tunnel.read_to_string(&mut heard).await.unwrap();
            tunnel.write_all(b"bye").await.unwrap();
            tunnel.shutdown().await.unwrap();
            heard
        };
        assert_eq!(tokio::join!(worker, front), ("bye".into(), "hello".into()));
    }

    #[tokio::test]
    async fn a_refusal_reaches_the_front_with_its_reason() {
        for reason in [Refusal::Full, Refusal::Draining, Refusal::Other(200)] {
            let (near, far) = duplex(64);
            let wanted = header();
            let worker = async { Incoming::read(far).await.unwrap().refuse(reason).await.unwrap() };
            let (_, opened) = tokio::join!(worker, open(near, &wanted));
            assert!(matches!(opened, Err(OpenError::Refused(told)) if told == reason));
        }
    }

    #[tokio::test]
    async fn a_header_of_a_later_version_is_refused_in_words_that_it_reads() {
        let (mut near, far) = duplex(64);
        near.write_all(&[2, 0, 3, 9, 9, 9]).await.unwrap();
        assert!(matches!(Incoming::read(far).await, Err(MessageError::Version(2))));
        let mut verdict = Vec::new();
        near.read_to_end(&mut verdict).await.unwrap();
        assert_eq!(verdict, [1, 0, 2, 1, 1]);
    }

    #[tokio::test]
    async fn a_worker_that_hangs_up_or_talks_nonsense_is_broken_not_refused() {
        let (near, far) = duplex(64);
        drop(far);
        assert!(matches!(open(near, &header()).await, Err(OpenError::Broken(_))));

        let (near, mut far) = duplex(64);
        far.write_all(b"HTTP/1.1 400 Bad Request\r\n").await.unwrap();
        assert!(matches!(open(near, &header()).await, Err(OpenError::Broken(_))));
    }

    #[tokio::test]
    async fn an_invalid_service_name_is_refused_without_a_byte() {
        let (near, mut far) = duplex(64);
        let bad = Header { service: "10.0.0.1:22".into(), ..header() };
        assert!(matches!(open(near, &bad).await, Err(OpenError::Refused(Refusal::Malformed))));
        assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
