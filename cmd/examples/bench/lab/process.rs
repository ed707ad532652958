//! A process that a run needs.

use std::{
    borrow::Cow,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
};

use super::usage;

/// From the start of a process to its first line, or to the first byte through it. Nodes that find each other by address
/// take a fraction of a second.
pub(crate) const START: Duration = Duration::from_secs(30);

/// From a kill to the end of a process.
const STOP: Duration = Duration::from_secs(10);

/// Characters of a log that are shown when its process has failed: the last few lines.
const TAIL: usize = 1000;

/// A child. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: Cow<'static, str>,
    child: Child,
    pid: Pid,
    log: PathBuf,
    /// Kept open: a closed one would end whoever prints more.
    _stdout: Option<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts a program that says nothing when it is ready. What it prints is kept in `folder`.
    pub(crate) fn spawn(
        name: impl Into<Cow<'static, str>>,
        command: &mut Command,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let name = name.into();
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        command.stdout(file.try_clone()?).stderr(file);
        Self::start(name, command, log)
    }

    /// Starts a program whose first line says in JSON that, and where, it is ready.
    pub(crate) async fn announced<T: DeserializeOwned>(
        name: impl Into<Cow<'static, str>>,
        command: &mut Command,
        folder: &Path,
    ) -> anyhow::Result<(Self, T)> {
        let name = name.into();
        let log = folder.join(format!("{name}.log"));
        command.stdout(Stdio::piped()).stderr(File::options().create(true).append(true).open(&log)?);
        let mut process = Self::start(name.clone(), command, log)?;
        let mut stdout = BufReader::new(process.child.stdout.take().context("no pipe")?);
        let mut line = String::new();
        match tokio::time::timeout(START, stdout.read_line(&mut line)).await {
            Err(_) => bail!("{name} said nothing within {} s{}", START.as_secs(), process.tail()),
            Ok(read) => read.with_context(|| format!("cannot hear {name}"))?,
        };
        if line.is_empty() {
            bail!("{name} ended at once: {}{}", process.child.wait().await?, process.tail());
        }
        let said = serde_json::from_str(&line).with_context(|| format!("{name} said {line:?}"))?;
        process._stdout = Some(stdout);
        Ok((process, said))
    }

    fn start(name: Cow<'static, str>, command: &mut Command, log: PathBuf) -> anyhow::Result<Self> {
        // Roles of this program end with their standard input.
        let child = command.stdin(Stdio::piped()).kill_on_drop(true).spawn();
        let child = child.with_context(|| format!("cannot start {name}"))?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).context("no process id")?;
        Ok(Self { name, child, pid, log, _stdout: None })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// # Errors
    /// It has ended, though nobody told it to.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} ended: {status}{}", self.name, self.tail()),
            None => Ok(()),
        }
    }

    /// Kills it and all that it has started, without a word.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        for pid in usage::family(self.pid)? {
            // One that has just ended by itself is what was wanted.
            let _ = kill_process(pid, Signal::KILL);
        }
        Ok(())
    }

    /// Kills it and waits for its end, so that none is left when this returns.
    pub(crate) async fn stop(mut self) {
        let _ = self.kill();
        let _ = tokio::time::timeout(STOP, self.child.wait()).await;
    }

    /// What it said last.
    fn tail(&self) -> String {
        let said = std::fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(said.get(said.len().saturating_sub(TAIL)..).unwrap_or_default());
        if said.trim().is_empty() { String::new() } else { format!("\n{}", said.trim()) }
    }
}

/// This program, as something else.
pub(crate) fn role(name: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(name);
    Ok(command)
}
