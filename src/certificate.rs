//! Certificates in files, as others issue them.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// Bytes in one of the files at most; a chain of ten certificates has a tenth.
const MAX_FILE: u64 = 1024 * 1024;

/// The files of a certificate, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate and those between it and its root, in this order.
    pub chain: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why a certificate can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A file can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is larger than any certificate.
    #[error("{} is too large for a PEM file of certificates", .0.display())]
    TooLarge(PathBuf),
    /// A file holds nothing of what it should.
    #[error("{} has no {what} in PEM form (a block that begins with -----BEGIN …-----)", path.display())]
    Empty {
        /// Which.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// A block is damaged.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The two do not belong together, or are of a kind that is not understood.
    #[error("the certificate {} does not go with the key {}: {why}", chain.display(), key.display())]
    Mismatch {
        /// The file of the certificate.
        chain: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl Certificate {
    /// What is in the files.
    pub(crate) fn read(&self) -> Result<Pem, CertificateError> {
        Ok(Pem { chain: read(&self.chain)?, key: read(&self.key)? })
    }

    /// Makes sense of it.
    pub(crate) fn parse(
        &self,
        pem: &Pem,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), CertificateError> {
        let chain = parse(&self.chain, &pem.chain)?;
        let key = match PrivateKeyDer::from_pem_slice(&pem.key) {
            Ok(key) => key,
            Err(rustls::pki_types::pem::Error::NoItemsFound) => {
                return Err(CertificateError::Empty { path: self.key.clone(), what: "private key" });
            }
            Err(error) => return Err(damaged(&self.key, &error)),
        };
        Ok((chain, key))
    }

    /// They are no pair.
    pub(crate) fn mismatch(&self, why: &dyn fmt::Display) -> CertificateError {
        CertificateError::Mismatch { chain: self.chain.clone(), key: self.key.clone(), why: why.to_string() }
    }
}

/// The bytes of both files.
#[derive(PartialEq, Eq)]
pub(crate) struct Pem {
    pub(crate) chain: Vec<u8>,
    key: Vec<u8>,
}

impl Drop for Pem {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key);
    }
}

/// The certificates in a PEM file; one at least.
pub(crate) fn read_all(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    parse(path, &read(path)?)
}

fn parse(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| damaged(path, &error))?;
    match chain.is_empty() {
        true => Err(CertificateError::Empty { path: path.to_owned(), what: "certificate" }),
        false => Ok(chain),
    }
}

/// It can be read, and makes no sense.
pub(crate) fn damaged(path: &Path, why: &dyn fmt::Display) -> CertificateError {
    CertificateError::Damaged { path: path.to_owned(), why: why.to_string() }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let failed = |source| CertificateError::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > MAX_FILE {
        return Err(CertificateError::TooLarge(path.to_owned()));
    }
    std::fs::read(path).map_err(failed)
}
