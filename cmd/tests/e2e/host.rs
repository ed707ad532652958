//! A user's account on a machine: the folders that nodes keep things in.

use std::{
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::process::Command;

use crate::process::{Exit, Process, command};

pub struct Host {
    folder: TempDir,
}

impl Host {
    pub fn new() -> Self {
        // Short, because the path of a Unix socket is.
        let folder = tempfile::Builder::new().prefix("fed").tempdir().unwrap();
        for name in ["home", "state", "run", "config"] {
            let folder = folder.path().join(name);
            fs::create_dir(&folder).unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        }
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file that others may not read. It is there in whole or not at all, as a node may be about to read it.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let (path, draft) = (self.path(name), self.path(&format!("{name}~")));
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        fs::rename(draft, &path).unwrap();
        path
    }

    /// The binary, as this user runs it: with nothing of the tester's own environment that could reach it.
    pub fn p2p_fed(&self) -> Command {
        let mut command = command(binary());
        command.env_clear().current_dir(self.folder.path()).env("RUST_BACKTRACE", "0");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path("home")).env("XDG_CONFIG_HOME", self.path("config"));
        command.env("XDG_STATE_HOME", self.path("state")).env("XDG_RUNTIME_DIR", self.path("run"));
        command
    }

    /// Runs the binary to its end.
    pub async fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Exit {
        self.start(args).exit().await
    }

    /// Runs the binary.
    pub fn start<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Process {
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let title = format!("p2p-fed {}", args.join(OsStr::new(" ")).display());
        Process::spawn(&title, self.p2p_fed().args(args))
    }
}

fn binary() -> PathBuf {
    match std::env::var_os("P2P_FED_BIN") {
        Some(path) => Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path),
        None => PathBuf::from(env!("CARGO_BIN_EXE_p2p-fed")),
    }
}
