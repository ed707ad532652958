//! A program that a test runs, with everything it says.

use std::{ffi::OsStr, path::PathBuf, process::Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
};

use crate::soon;

/// Killed when dropped; what it wrote is printed if that happens while a test fails.
pub struct Process {
    title: String,
    pid: Pid,
    child: Child,
    stdout: watch::Receiver<String>,
    stderr: watch::Receiver<String>,
}

/// How a program ended, and all that it wrote.
#[derive(Debug)]
pub struct Exit {
    /// `None`: by a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// `program`, to be killed by the kernel if the test dies before it can do so itself.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// A program that `make peers` installs.
pub fn installed(name: &str) -> PathBuf {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    // Where servers are on Debian, which is not in every user's path.
    let folders = std::env::split_paths(&folders).chain(["/usr/sbin".into()]);
    let program = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    program.unwrap_or_else(|| panic!("{name} is not installed; run `make peers`"))
}

impl Process {
    pub fn spawn(title: &str, command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {title}: {error}"));
        let pid = Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        Self { title: title.to_owned(), pid, child, stdout, stderr }
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    pub fn stdout(&self) -> String {
        self.stdout.borrow().clone()
    }

    pub fn stderr(&self) -> String {
        self.stderr.borrow().clone()
    }

    /// The first line on stdout that has `part` in it.
    pub async fn says(&self, part: &str) -> String {
        self.line(self.stdout.clone(), part).await
    }

    /// The first line on stderr that has `part` in it.
    pub async fn logs(&self, part: &str) -> String {
        self.line(self.stderr.clone(), part).await
    }

    async fn line(&self, mut text: watch::Receiver<String>, part: &str) -> String {
        let awaited = format!("{} to say {part:?}", self.title);
        let found = soon(&awaited, text.wait_for(|text| text.lines().any(|line| line.contains(part)))).await;
        let Ok(text) = found else { panic!("{} ended and had not said {part:?}", self.title) };
        text.lines().find(|line| line.contains(part)).unwrap().to_owned()
    }

    /// Waits for its end.
    pub async fn exit(mut self) -> Exit {
        let status = soon(&format!("{} to end", self.title), self.child.wait()).await.unwrap();
        // Its pipes end with it, unless it left a child behind that holds them.
        for output in [&mut self.stdout, &mut self.stderr] {
            soon("the last of its output", async { while output.changed().await.is_ok() {} }).await;
        }
        Exit { code: status.code(), stdout: self.stdout(), stderr: self.stderr() }
    }

    /// Ends it as a crash would, and waits until it is gone.
    pub async fn kill(self) -> Exit {
        self.signal(Signal::KILL);
        self.exit().await
    }

    /// The largest resident memory that it had so far, in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// The resident memory that it has, in KiB.
    pub fn memory_kib(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid.as_raw_nonzero())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (stdout, stderr) = (self.stdout(), self.stderr());
            println!("--- {} (pid {})\n{stdout}--- its stderr\n{stderr}---", self.title, self.pid.as_raw_nonzero());
        }
    }
}

/// Gathers whole lines as they come; the text closes with the pipe.
fn collect(pipe: impl AsyncRead + Unpin + Send + 'static) -> watch::Receiver<String> {
    let (text, reader) = watch::channel(String::new());
    tokio::spawn(async move {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).await.is_ok_and(|bytes| bytes > 0) {
            text.send_modify(|text| text.push_str(&String::from_utf8_lossy(&line)));
            line.clear();
        }
    });
    reader
}
