//! TLS on a listener: a certificate from files, read again when they change.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use rustls::{ServerConfig, crypto::aws_lc_rs};
use tokio::{
    net::TcpStream,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    Mode,
    socket::{Rewound, Socket},
};
use crate::certificate::{Certificate, CertificateError, Pem};

/// How often the files are looked at. A renewed certificate is in use long before the old one ends.
const LOOK: Duration = Duration::from_secs(5);

/// What clients are offered by ALPN (RFC 7301) where HTTP is spoken.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Reads both files and sees whether they can be used together.
///
/// # Errors
/// One line that names the file and what is wrong with it.
pub fn check(certificate: &Certificate) -> Result<(), CertificateError> {
    certificate.read().and_then(|pem| configure(certificate, &pem, Mode::Auto)).map(drop)
}

fn configure(certificate: &Certificate, pem: &Pem, mode: Mode) -> Result<ServerConfig, CertificateError> {
    let (chain, key) = certificate.parse(pem)?;
    let mismatch = |error: rustls::Error| certificate.mismatch(&error);
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(mismatch)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(mismatch)?;
    if mode != Mode::Tcp {
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    }
    Ok(config)
}

/// The certificate of one listener.
pub(super) struct Tls {
    certificate: Certificate,
    mode: Mode,
    /// Held to take a handle or to put another one in.
    current: Mutex<Current>,
}

struct Current {
    acceptor: TlsAcceptor,
    /// What it was made of.
    pem: Arc<Pem>,
    /// What was wrong when the files were last looked at, so that it is said once.
    complaint: Option<String>,
}

/// What a handshake led to.
pub(super) struct Accepted {
    pub(super) socket: Socket,
    /// What both agreed to speak.
    pub(super) protocol: Option<Agreed>,
}

/// A protocol agreed on by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Agreed {
    Http1,
    Http2,
}

impl Tls {
    pub(super) fn load(certificate: &Certificate, mode: Mode) -> Result<Self, CertificateError> {
        let pem = certificate.read()?;
        let acceptor = TlsAcceptor::from(Arc::new(configure(certificate, &pem, mode)?));
        let current = Current { acceptor, pem: Arc::new(pem), complaint: None };
        Ok(Self { certificate: certificate.clone(), mode, current: Mutex::new(current) })
    }

    /// Shakes hands with a client whose first bytes may have been read.
    ///
    /// # Errors
    /// It does not speak TLS, can't agree with us, or takes too long.
    pub(super) async fn accept(&self, ahead: Bytes, tcp: TcpStream, limit: Duration) -> io::Result<Accepted> {
        let acceptor = self.current().acceptor.clone();
        let shaken = timeout(limit, acceptor.accept(Rewound::new(ahead, tcp))).await;
        let stream =
            shaken.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake takes too long"))??;
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Some(Agreed::Http2),
            Some(_) => Some(Agreed::Http1),
            None => None,
        };
        Ok(Accepted { socket: Socket::Tls(Box::new(stream)), protocol })
    }

    /// Follows the files. Bad ones change nothing, and are complained of once.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let tls = Arc::clone(&self);
            // A disk may hang.
            if spawn_blocking(move || tls.look()).await.is_err() {
                return;
            }
        }
    }

    /// Takes over what the files say, if they say something new.
    fn look(&self) {
        let known = Arc::clone(&self.current().pem);
        let fresh = self.certificate.read().and_then(|pem| match pem == *known {
            true => Ok(None),
            false => configure(&self.certificate, &pem, self.mode).map(|config| Some((pem, config))),
        });
        let chain = self.certificate.chain.display();
        let mut current = self.current();
        match fresh {
            Ok(None) => current.complaint = None,
            Ok(Some((pem, config))) => {
                let acceptor = TlsAcceptor::from(Arc::new(config));
                *current = Current { acceptor, pem: Arc::new(pem), complaint: None };
                tracing::info!(%chain, "certificate renewed");
            }
            Err(error) => {
                let error = error.to_string();
                if current.complaint.as_ref() != Some(&error) {
                    tracing::warn!(%chain, %error, "the new certificate can't be used; the old one stays");
                    current.complaint = Some(error);
                }
            }
        }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        // Nothing in here panics half way.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn made(folder: &TempDir) -> (Certificate, String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = Certificate { chain: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
        (certificate, made.cert.pem(), made.key_pair.serialize_pem())
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_said_in_one_line_that_names_the_file() {
        let folder = TempDir::new().unwrap();
        let (certificate, cert, key) = made(&folder);
        let (_, _, other_key) = made(&folder);
        let cases: [(Option<&str>, Option<&str>, &str, &str); 7] = [
            (None, Some(&key), "cert.pem", "cannot read"),
            (Some(&cert), None, "key.pem", "cannot read"),
            (Some(""), Some(&key), "cert.pem", "no certificate"),
            (Some(&cert), Some(""), "key.pem", "no private key"),
            (Some(&key), Some(&key), "cert.pem", "no certificate"),
            (Some(&cert), Some(&other_key), "key.pem", "does not go with"),
            (Some("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n"), Some(&key), "cert.pem", "damaged"),
        ];
        for (cert, key, file, word) in cases {
            for (path, text) in [(&certificate.chain, cert), (&certificate.key, key)] {
                match text {
                    Some(text) => fs::write(path, text).unwrap(),
                    None => drop(fs::remove_file(path)),
                }
            }
            let error = check(&certificate).unwrap_err().to_string();
            assert!(error.contains(file) && error.contains(word) && !error.contains('\n'), "{error}");
        }
        fs::write(&certificate.chain, &cert).unwrap();
        fs::write(&certificate.key, &key).unwrap();
        check(&certificate).unwrap();
    }

    #[test]
    fn a_new_certificate_is_taken_over_and_a_bad_one_is_not() {
        let folder = TempDir::new().unwrap();
        let (certificate, cert, key) = made(&folder);
        fs::write(&certificate.chain, &cert).unwrap();
        fs::write(&certificate.key, &key).unwrap();
        let tls = Tls::load(&certificate, Mode::Http).unwrap();
        tls.look();
        assert_eq!(tls.current().pem.chain, cert.as_bytes());

        let (_, new_cert, new_key) = made(&folder);
        fs::write(&certificate.chain, &new_cert).unwrap();
        tls.look();
        assert_eq!(tls.current().pem.chain, cert.as_bytes(), "its key has not come yet");
        assert!(tls.current().complaint.is_some());

        fs::write(&certificate.key, &new_key).unwrap();
        tls.look();
        assert_eq!(tls.current().pem.chain, new_cert.as_bytes());
        assert!(tls.current().complaint.is_none());
    }
}
