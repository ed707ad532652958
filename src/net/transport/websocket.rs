//! WebSocket: what passes where there is nothing but the web, through a proxy or on port 443.

use std::path::PathBuf;

use libp2p::websocket::tls;

use crate::certificate::{self, Certificate, CertificateError};

/// Bytes of one message at most. yamux and TLS write some tens of KiB at once.
pub(super) const MAX_MESSAGE: usize = 1 << 20;

/// What is needed for WebSocket over TLS (`/tls/ws`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebSocket {
    /// What listeners show. Without it they speak no TLS; a proxy in front of them may. Read once.
    pub certificate: Option<Certificate>,
    /// A PEM file of authorities that are trusted beside the web's usual ones, when dialling. Read once.
    pub authorities: Option<PathBuf>,
}

impl WebSocket {
    /// Whether listeners can speak TLS.
    pub fn has_certificate(&self) -> bool {
        self.certificate.is_some()
    }

    /// Reads the files and sees whether they can be used.
    ///
    /// # Errors
    /// One line that names the file and what is wrong with it.
    pub fn check(&self) -> Result<(), CertificateError> {
        self.tls().map(drop)
    }

    pub(super) fn tls(&self) -> Result<tls::Config, CertificateError> {
        let mut builder = tls::Config::builder();
        let der = |bytes: &[u8]| tls::Certificate::new(bytes.to_vec());
        if let Some(files) = &self.certificate {
            let (chain, key) = files.parse(&files.read()?)?;
            let key = tls::PrivateKey::new(key.secret_der().to_vec());
            builder
                .server(key, chain.iter().map(|certificate| der(certificate)))
                .map_err(|error| files.mismatch(&error))?;
        }
        if let Some(path) = &self.authorities {
            for authority in certificate::read_all(path)? {
                builder.add_trust(&der(&authority)).map_err(|error| certificate::damaged(path, &error))?;
            }
        }
        Ok(builder.finish())
    }
}
