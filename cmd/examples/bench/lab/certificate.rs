//! What two TLS programs trust each other by, made for one run.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use tokio::process::Command;

use super::program;

/// A self-signed certificate and its key, in files.
#[derive(Debug)]
pub(super) struct Certificate {
    /// The certificate alone.
    pub(super) certificate: PathBuf,
    /// Both, as servers want it.
    pub(super) with_key: PathBuf,
}

impl Certificate {
    /// Makes one in `folder`.
    pub(super) async fn make(folder: &Path, tools: &Path) -> anyhow::Result<Self> {
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        let mut command = Command::new(program::find("openssl", tools)?);
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        command.args(["-days", "2", "-subj", "/CN=localhost"]).arg("-keyout").arg(&key).arg("-out").arg(&certificate);
        let made = command.output().await.context("cannot run openssl")?;
        ensure!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr).trim());
        let with_key = folder.join("with-key.pem");
        std::fs::write(&with_key, [std::fs::read(&certificate)?, std::fs::read(&key)?].concat())?;
        std::fs::set_permissions(&with_key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(Self { certificate, with_key })
    }
}
