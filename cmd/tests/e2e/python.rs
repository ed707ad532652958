//! Servers and clients in Python.

use std::{fs, net::SocketAddr, path::Path, path::PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;
use tokio::process::Command;

use crate::process::{Process, command};

/// `http.server`, which answers `python` at `/who`. What it serves at `/held` is a FIFO: it does not answer before
/// somebody writes to it.
pub struct FileServer {
    pub address: SocketAddr,
    _process: Process,
    folder: TempDir,
}

impl FileServer {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("who"), "python\n").unwrap();
        mknodat(CWD, folder.path().join("held"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let process = Process::spawn("file_server.py", script("file_server.py").arg(folder.path()));
        let line = process.says("port ").await;
        let port = line.strip_prefix("port ").unwrap();
        Self { address: format!("127.0.0.1:{port}").parse().unwrap(), _process: process, folder }
    }

    /// Lets go of what is held, while the file that this yields is open.
    pub fn release(&self) -> fs::File {
        fs::File::options().read(true).write(true).open(self.folder.path().join("held")).unwrap()
    }
}

/// A program of `tests/peers`.
pub fn script(name: &str) -> Command {
    let mut command = python();
    command.arg("-u").arg(root().join("tests/peers").join(name));
    command
}

/// The interpreter that has the packages of `tests/peers/requirements.txt`.
fn python() -> Command {
    let path = match std::env::var_os("PEERS_PYTHON") {
        Some(path) => root().join(path),
        None => root().join("target/venv/bin/python"),
    };
    assert!(path.exists(), "there is no {}; run `make peers`", path.display());
    command(path)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
