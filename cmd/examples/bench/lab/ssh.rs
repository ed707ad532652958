//! `ssh -N -L` to a server of its own: the tunnel that is everywhere.
//!
//! One connection carries all, as one does between two of p2p-fed's nodes.

use std::{os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Context, ensure};
use tokio::process::Command;

use super::{
    Site,
    chain::{Chain, Entry},
    ports,
    process::Process,
    program,
};

/// The fastest cipher of ssh on processors with AES.
const CIPHER: &str = "aes128-gcm@openssh.com";

pub(super) async fn start(site: &Site<'_>) -> anyhow::Result<Chain> {
    let [tcp, http, server] = ports::free()?;
    let (ssh, sshd) = (program::find("ssh", site.tools)?, program::find("sshd", site.tools)?);
    // The server's and the user's key.
    let key = site.folder.join("ssh-key");
    make_key(&key, site.tools).await?;
    let authorized = site.folder.join("authorized-keys");
    std::fs::copy(key.with_extension("pub"), &authorized)?;
    std::fs::set_permissions(&authorized, PermissionsExt::from_mode(0o600))?;

    let config = site.folder.join("sshd.conf");
    std::fs::write(
        &config,
        format!(
            "ListenAddress {server}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\n\
             PasswordAuthentication no\nPermitRootLogin prohibit-password\nAllowTcpForwarding yes\nCiphers {CIPHER}\n",
            key.display(),
            authorized.display()
        ),
    )?;
    let mut far = Process::spawn("sshd", Command::new(sshd).args(["-D", "-e", "-f"]).arg(&config), site.folder)?;
    // The client gives up at once where nobody listens.
    ports::taken(server, &mut far).await?;

    let mut command = Command::new(ssh);
    command.args(["-N", "-F", "none", "-c", CIPHER, "-i"]).arg(&key);
    for option in [
        "BatchMode=yes",
        "ControlMaster=no",
        "ControlPath=none",
        "ExitOnForwardFailure=yes",
        "IdentitiesOnly=yes",
        "LogLevel=ERROR",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
    ] {
        command.args(["-o", option]);
    }
    command.arg("-L").arg(format!("{tcp}:{}", site.backend.tcp));
    command.arg("-L").arg(format!("{http}:{}", site.backend.http));
    command.arg("-p").arg(server.port().to_string()).arg(server.ip().to_string());
    let near = Process::spawn("ssh", &mut command, site.folder)?;
    Chain::new(Entry { tcp, http, http_mode: None, http2: None }, vec![near], vec![far]).ready().await
}

async fn make_key(key: &Path, tools: &Path) -> anyhow::Result<()> {
    if key.exists() {
        return Ok(());
    }
    let mut command = Command::new(program::find("ssh-keygen", tools)?);
    command.args(["-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f"]).arg(key);
    let made = command.output().await.context("cannot run ssh-keygen")?;
    ensure!(made.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&made.stderr).trim());
    Ok(())
}
