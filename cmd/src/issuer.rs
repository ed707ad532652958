//! Where the key of a network's issuer is.

use std::path::PathBuf;

use clap::Args;
use p2p_fed::{identity::IssuerFile, ledger::IssuerKey};

use crate::{exit::Failure, token_source::in_config_folder};

/// Which file has the issuer's key.
#[derive(Clone, Debug, Args)]
pub(crate) struct IssuerFlags {
    /// File with the key of the network's issuer [default: ~/.config/p2p-fed/issuers/NETWORK.key]
    #[arg(long, value_name = "PATH")]
    pub(crate) issuer_key: Option<PathBuf>,
}

impl IssuerFlags {
    /// A new file for the key of a network with this short id.
    ///
    /// # Errors
    /// There is one already, or its folder does not let it be.
    pub(crate) fn place(&self, network: &str) -> Result<PathBuf, Failure> {
        let path = self.path(network)?;
        if self.issuer_key.is_none() {
            IssuerFile::make_folder(&path).map_err(Failure::usage)?;
        }
        Ok(path)
    }

    /// The key of the network with this short id, which must be `issuer`'s.
    ///
    /// # Errors
    /// There is no such file, it cannot be used, or its key is another one.
    pub(crate) fn open(&self, network: &str, issuer: &IssuerKey) -> Result<IssuerFile, Failure> {
        let file = IssuerFile::open(&self.path(network)?).map_err(Failure::usage)?;
        if file.public() == *issuer {
            return Ok(file);
        }
        Err(Failure::usage(format_args!(
            "{} is the key of issuer {}, but that of network {network} is {}: name the right one with --issuer-key",
            file.path().display(),
            file.public().fingerprint(),
            issuer.fingerprint()
        )))
    }

    fn path(&self, network: &str) -> Result<PathBuf, Failure> {
        let usual = || in_config_folder(&format!("issuers/{network}.key"));
        self.issuer_key.clone().or_else(usual).ok_or_else(|| {
            Failure::usage("no place for the issuer's key: set HOME or XDG_CONFIG_HOME, or pass --issuer-key")
        })
    }
}
