//! The certificate of this process, and what makes a peer's the right one.
//!
//! There is no authority to ask. Each process makes a certificate of its own and tells its fingerprint to members over
//! connections that libp2p has authenticated; TLS then takes the certificate with that fingerprint and no other. Names and
//! dates in it mean nothing.

use std::{fmt, sync::Arc};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    SupportedCipherSuite,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider,
        aws_lc_rs::{self as provider, Ticketer, cipher_suite, kx_group},
        verify_tls13_signature,
    },
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
    version::TLS13,
};

/// In every certificate; it has to be something.
const NAME: &str = "p2p-fed";

/// Tickets that a client keeps for one worker: as many connections as a burst opens at once can resume.
const TICKETS: usize = 16;

/// SHA-256 of a certificate.
pub(super) type Fingerprint = [u8; SHA256_OUTPUT_LEN];

/// The certificate of this process with its key.
pub(super) struct Certificate {
    der: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl Certificate {
    /// A fresh one, ECDSA on P-256.
    pub(super) fn generate() -> Result<Self, rcgen::Error> {
        let rcgen::CertifiedKey { cert, key_pair } = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key_pair.serialize_der()));
        Ok(Self { der: cert.der().clone(), key, provider: Arc::new(suites()) })
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.der)
    }

    /// For connections to the one peer whose certificate has `fingerprint`.
    pub(super) fn client(&self, fingerprint: Fingerprint) -> Result<ClientConfig, Error> {
        let verifier = Arc::new(Pinned { fingerprint: Some(fingerprint), provider: Arc::clone(&self.provider) });
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(vec![self.der.clone()], self.key.clone_key())?;
        config.resumption = Resumption::in_memory_sessions(TICKETS);
        config.enable_secret_extraction = true;
        config.enable_sni = false;
        Ok(config)
    }

    /// For connections of members. Whose certificate it was is checked against the knock, behind the handshake.
    pub(super) fn server(&self) -> Result<ServerConfig, Error> {
        let verifier = Arc::new(Pinned { fingerprint: None, provider: Arc::clone(&self.provider) });
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.der.clone()], self.key.clone_key())?;
        config.ticketer = Ticketer::new()?;
        config.enable_secret_extraction = true;
        Ok(config)
    }

    /// What a client calls its server; nobody looks at it.
    pub(super) fn name() -> Result<ServerName<'static>, Error> {
        ServerName::try_from(NAME).map_err(|_| Error::General("not a name".to_owned()))
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

pub(super) fn fingerprint(der: &CertificateDer<'_>) -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(digest(&SHA256, der).as_ref());
    fingerprint
}

/// TLS 1.3 with X25519 and, first, the cipher that this processor is fast at.
fn suites() -> CryptoProvider {
    let aes: [SupportedCipherSuite; 2] =
        [cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_AES_256_GCM_SHA384];
    let chacha = [cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    let cipher_suites = if has_aes() { [&aes[..], &chacha].concat() } else { [&chacha[..], &aes].concat() };
    CryptoProvider { cipher_suites, kx_groups: vec![kx_group::X25519], ..provider::default_provider() }
}

/// Whether the processor has instructions for AES. Unknown ones are taken to have none.
fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// Takes the certificate with one fingerprint; without one any, which proves only that the peer has its key.
#[derive(Debug)]
struct Pinned {
    fingerprint: Option<Fingerprint>,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn check(&self, der: &CertificateDer<'_>) -> Result<(), Error> {
        match self.fingerprint {
            Some(pinned) if pinned != fingerprint(der) => Err(CertificateError::UnknownIssuer.into()),
            _ => Ok(()),
        }
    }

    fn signed(
        &self,
        message: &[u8],
        der: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, der, signed, &self.provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        der: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(der).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 alone is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        der: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(message, der, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        der: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(der).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 alone is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        der: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(message, der, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
