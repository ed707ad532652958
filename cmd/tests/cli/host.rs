//! A host of one's own: folders that nothing else uses, an environment that says nothing, and nodes that end with it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take that happens at once on a machine that has nothing else to do.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Nothing but loopback, nothing but the peers that are named.
pub(crate) const QUIET: [&str; 4] = ["--no-mdns", "--no-dht", "--listen-addr", "/ip4/127.0.0.1/tcp/0"];

pub(crate) struct Host {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

impl Host {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("run")).unwrap();
        Self { folder, variables: Vec::new() }
    }

    /// With a token in the file `token`.
    pub(crate) fn with_token() -> Self {
        let host = Self::new();
        let token = host.run(&["token"]).stdout;
        host.write("token", &token);
        host
    }

    /// With another variable in the environment.
    pub(crate) fn with(mut self, variable: &str, value: &str) -> Self {
        self.variables.push((variable.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a file there that only its owner can read.
    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.path(name);
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path).unwrap();
        file.write_all(content.as_bytes()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_p2p-fed"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.folder.path())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .envs(self.variables.iter().cloned())
            .current_dir(self.folder.path());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        Said::from(self.command(arguments).stdin(Stdio::null()).output().unwrap())
    }

    /// Runs a command that reads this.
    pub(crate) fn feed(&self, arguments: &[&str], input: &str) -> Said {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Said::from(child.wait_with_output().unwrap())
    }

    /// Starts a node; `arguments` are those beside the quiet ones.
    pub(crate) fn start(&self, arguments: &[&str]) -> Node {
        let mut all = arguments.to_vec();
        all.extend(QUIET);
        Node::start(self.command(&all))
    }

    /// Starts a node with the host's token, and waits until it is ready.
    pub(crate) fn node(&self, arguments: &[&str]) -> Node {
        let mut all = arguments.to_vec();
        all.extend(["--token-file", "token", "-o", "json"]);
        let mut node = self.start(&all);
        node.become_ready();
        node
    }
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let said = Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
        for text in [&said.stdout, &said.stderr] {
            assert!(!text.contains('\u{1b}'), "colour in a pipe: {said:?}");
            assert!(!text.contains("panicked") && !text.contains("backtrace"), "{said:?}");
        }
        said
    }
}

impl Said {
    /// It went well and said nothing beside.
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self.stdout
    }

    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// It was refused, in one line that has all of `parts`.
    pub(crate) fn refused(&self, code: i32, parts: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{self:?}");
        let lines: Vec<_> = self.stderr.lines().collect();
        let complaint = lines.last().unwrap();
        assert!(complaint.starts_with("p2p-fed: "), "{self:?}");
        for part in parts {
            assert!(complaint.contains(part), "{part:?} in {complaint:?}");
        }
        // Whatever stands before the complaint are log lines.
        let is_log = |line: &str| ["DBG", "INF", "WRN", "ERR"].iter().any(|level| line.contains(level));
        assert!(lines.iter().rev().skip(1).all(|line| is_log(line)), "{self:?}");
    }
}

/// A running node. It is killed when it is dropped.
pub(crate) struct Node {
    child: Child,
    stdout: Lines,
    stderr: Lines,
    readers: Vec<JoinHandle<()>>,
    ready: Value,
}

impl Node {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (Lines::default(), Lines::default());
        let readers = vec![stdout.read(child.stdout.take().unwrap()), stderr.read(child.stderr.take().unwrap())];
        Self { child, stdout, stderr, readers, ready: Value::Null }
    }

    pub(crate) fn become_ready(&mut self) {
        let line = self.stdout.wait_for(|line| line.starts_with('{')).unwrap_or_else(|| {
            panic!("not ready: {}", self.stderr.text());
        });
        self.ready = serde_json::from_str(&line).unwrap();
    }

    /// The line on stdout that says that it is ready.
    pub(crate) fn ready_line(&self) -> String {
        self.stdout.wait_for(|line| line.contains("ready")).expect("ready")
    }

    pub(crate) fn name(&self) -> &str {
        self.ready["name"].as_str().unwrap()
    }

    pub(crate) fn address(&self) -> &str {
        self.ready["addresses"][0].as_str().unwrap()
    }

    /// Where clients of its only front connect.
    pub(crate) fn front(&self) -> &str {
        self.ready["fronts"][0]["listen"].as_str().unwrap()
    }

    pub(crate) fn ready(&self) -> &Value {
        &self.ready
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn send(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// Waits for a line in its log that has `part`.
    pub(crate) fn logs(&self, part: &str) -> String {
        self.stderr.wait_for(|line| line.contains(part)).unwrap_or_else(|| {
            panic!("no {part:?} in {}", self.stderr.text());
        })
    }

    /// Waits for another line on stdout than those before.
    pub(crate) fn says(&self, is_it: impl Fn(&str) -> bool) -> String {
        self.stdout.wait_for(is_it).expect("a line")
    }

    /// Waits for its end: how it ended, and all that it ever said.
    pub(crate) fn end(mut self) -> Said {
        let status = self.wait();
        assert_eq!(status.signal(), None, "killed");
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let said = Said { code: status.code(), stdout: self.stdout.text(), stderr: self.stderr.text() };
        assert!(!said.stderr.contains("panicked") && !said.stderr.contains('\u{1b}'), "{said:?}");
        said
    }

    fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + SOON;
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status,
                None => assert!(Instant::now() < until, "it does not end: {}", self.stderr.text()),
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines that a process writes, as they come.
#[derive(Clone, Default)]
struct Lines(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Lines {
    fn read(&self, source: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(source).lines() {
                lines.0.0.lock().unwrap().push(line.unwrap());
                lines.0.1.notify_all();
            }
        })
    }

    fn wait_for(&self, is_it: impl Fn(&str) -> bool) -> Option<String> {
        let found = |lines: &Vec<String>| lines.iter().find(|line| is_it(line)).cloned();
        let lines = self.0.0.lock().unwrap();
        let (lines, _) = self.0.1.wait_timeout_while(lines, SOON, |lines| found(lines).is_none()).unwrap();
        found(&lines)
    }

    fn text(&self) -> String {
        self.0.0.lock().unwrap().join("\n")
    }
}

/// Something to offer: answers each HTTP request with `hello`, and never ends.
pub(crate) fn backend() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                while lines.by_ref().take_while(|line| !line.is_empty()).count() > 0 {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
                    if (&stream).write_all(answer).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

/// What a client is answered.
pub(crate) fn get(address: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Whether the file is there.
pub(crate) fn exists(path: &Path) -> bool {
    path.try_exists().unwrap()
}
