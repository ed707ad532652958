//! One network of a test: its token, and loopback addresses that no other test uses.

use std::{
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::TempDir;
use tokio::process::Command;

/// Addresses of 127.0.0.0/8 given out by this process. The low bits of its id keep two runs apart.
static GIVEN: AtomicU32 = AtomicU32::new(1);

/// A port that is free on each of them: nobody else uses the address.
const PORT: u16 = 8080;

/// A network.
pub struct Network {
    folder: TempDir,
    token: String,
}

/// The p2p-fed of this build.
pub fn binary() -> PathBuf {
    std::env::var_os("P2P_FED_BIN").expect("P2P_FED_BIN names the binary; run `make interop`").into()
}

/// An address that nobody else uses.
pub fn address() -> SocketAddr {
    let count = GIVEN.fetch_add(1, Ordering::Relaxed);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let [_, _, _, own] = count.to_be_bytes();
    (Ipv4Addr::new(127, 64 | (high & 0x3f), low, own.max(1)), PORT).into()
}

impl Network {
    /// One that both kinds may join, with p2p-fed's own token.
    pub async fn new() -> Self {
        Self::minted(&["--compat"]).await
    }

    /// One whose topic and key turn every `seconds`.
    pub async fn turning(seconds: u32) -> Self {
        Self::minted(&["--compat", "--key-otp-interval", &seconds.to_string()]).await
    }

    /// One that nodes of edgevpn can read the token of, and nothing else.
    pub async fn strict() -> Self {
        Self::minted(&[]).await
    }

    async fn minted(args: &[&str]) -> Self {
        let minted = Command::new(binary()).arg("token").args(args).output().await.unwrap();
        assert!(minted.status.success(), "{}", String::from_utf8_lossy(&minted.stderr));
        Self::of(String::from_utf8(minted.stdout).unwrap().trim().to_owned())
    }

    fn of(token: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, &token).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        Self { folder, token }
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    pub fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}
