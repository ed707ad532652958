//! Where a node keeps what it must not lose.

use std::{
    ffi::OsString,
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{
    Error, Identity, NodeName, RuntimeDir, Snapshot, SpentFile, lock::Lock, safe_file, safe_folder, seq_file::SeqFile,
    snapshot_file::SnapshotFile,
};

/// How many processes on one host may go by variants of one name.
///
/// Far above what one machine runs; each variant tried costs a few system calls, all of them a blink.
const MAX_NAMESAKES: u32 = 1000;

/// A node's own state folder and name, both held against other processes until the value is dropped.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    name: NodeName,
    seq: SeqFile,
    snapshot: SnapshotFile,
    _name_lock: Lock,
    _folder_lock: Lock,
}

impl StateDir {
    /// Where state belongs unless `--state-dir` says otherwise: `$XDG_STATE_HOME/p2p-fed`, or `~/.local/state/p2p-fed`.
    ///
    /// # Errors
    ///
    /// [`Error::NoHome`] when the environment names no such place.
    pub fn usual_base() -> Result<PathBuf, Error> {
        usual_base(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"))
    }

    /// Takes `<base>/<network>/<name>` and, in the runtime folder, the name. `network` is the network's short id. Folders that
    /// are not there are made, 0700.
    ///
    /// If another process has either and the name may vary (`vary`: nobody chose it, it is the host's), `name-2`, `name-3` …
    /// are tried, so that each process on a host gets a name and an identity of its own.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] or [`Error::NamesExhausted`] when there is no name to be had; otherwise when a folder or lock file
    /// can't be made or is not safe to use.
    pub fn claim(base: &Path, runtime: &RuntimeDir, network: &str, name: &NodeName, vary: bool) -> Result<Self, Error> {
        DirBuilder::new().recursive(true).mode(0o700).create(base).map_err(Error::io("create", base))?;
        let network = base.join(network);
        safe_folder::create(&network)?;
        for number in 1..=MAX_NAMESAKES {
            let candidate = if number == 1 { name.clone() } else { name.numbered(number) };
            match Self::try_claim(&network, runtime, candidate)? {
                Ok(state) => return Ok(state),
                Err(_held) if vary => {}
                Err(held) => return Err(Error::InUse { path: held, choice: "--name" }),
            }
        }
        Err(Error::NamesExhausted { name: name.to_string(), tried: MAX_NAMESAKES })
    }

    /// One name. The inner error is the lock file that another process holds.
    fn try_claim(network: &Path, runtime: &RuntimeDir, name: NodeName) -> Result<Result<Self, PathBuf>, Error> {
        // The name first: whoever loses there has made no folder. Nobody waits for a lock, so their order can't deadlock.
        let Some(name_lock) = runtime.lock(&name)? else { return Ok(Err(runtime.lock_file(&name))) };
        let path = network.join(name.as_str());
        safe_folder::create(&path)?;
        let lock_file = path.join("lock");
        let Some(folder_lock) = Lock::try_acquire(&lock_file)? else { return Ok(Err(lock_file)) };
        let (seq, snapshot) = (SeqFile::new(path.join("seq")), SnapshotFile::new(path.join("snapshot")));
        Ok(Ok(Self { path, name, seq, snapshot, _name_lock: name_lock, _folder_lock: folder_lock }))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name that was to be had.
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    /// The node's identity: the one kept here, or a new one that is kept from now on.
    ///
    /// # Errors
    ///
    /// When the file can't be used, is not safe to use, or holds no identity; it is left as it was.
    pub fn identity(&self) -> Result<Identity, Error> {
        Identity::load_or_create(&self.path.join("identity"))
    }

    /// The number of the last record that this node is known to have signed. A file that is damaged or not safe to use counts as
    /// none, with a warning in the log: the clock then has to do.
    pub fn load_seq(&self) -> Option<u64> {
        self.seq.load()
    }

    /// Keeps the number. When this returns, it survives a power cut. A number below the one kept changes nothing.
    ///
    /// Blocks on the disk: call it where blocking is allowed.
    ///
    /// # Errors
    ///
    /// When it can't be written. The record must then not be sent; another try may succeed.
    pub fn persist_seq(&self, seq: u64) -> Result<(), Error> {
        self.seq.persist(seq)
    }

    /// Which invitations for one machine are used up, as far as this node knows. To be loaded once.
    pub fn load_spent(&self) -> SpentFile {
        SpentFile::load(SnapshotFile::new(self.path.join("spent")))
    }

    /// The newest generation of the network that this node was given the secret of. A file that is damaged or not safe to use
    /// counts as none, with a warning in the log: the token then has to do.
    pub fn load_generation(&self) -> Option<(u32, Zeroizing<[u8; 32]>)> {
        let path = self.path.join("generation");
        let content = match safe_file::read(&path) {
            Ok(content) => content?,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "generation file is unusable, going by the token");
                return None;
            }
        };
        let decoded = decode_generation(&content);
        if decoded.is_none() {
            tracing::warn!(path = %path.display(), "generation file is damaged, going by the token");
        }
        decoded
    }

    /// Keeps the secret of a newer generation. When this returns, it survives a power cut.
    ///
    /// # Errors
    ///
    /// When it can't be written. The node goes on with the secret, and needs the new token after a restart.
    pub fn save_generation(&self, generation: u32, secret: &[u8; 32]) -> Result<(), Error> {
        let content = Zeroizing::new([&generation.to_be_bytes()[..], secret].concat());
        safe_file::replace(&self.path.join("generation"), &content)
    }

    /// What this node knew of the others when it last saved it. What is damaged is left out, and a file that is not safe to use
    /// counts as none, each with a warning in the log.
    pub fn load_snapshot(&self) -> Snapshot {
        self.snapshot.load()
    }

    /// Keeps what this node knows of the others, in place of what was kept, and says how many of the items did not fit. When this
    /// returns, it survives a power cut.
    ///
    /// Blocks on the disk: call it where blocking is allowed.
    ///
    /// # Errors
    ///
    /// When it can't be written. What was kept before still is; another try may succeed.
    pub fn save_snapshot(&self, items: impl Iterator<Item = Vec<u8>>) -> Result<usize, Error> {
        self.snapshot.save(items)
    }
}

fn decode_generation(content: &[u8]) -> Option<(u32, Zeroizing<[u8; 32]>)> {
    let (generation, secret) = content.split_first_chunk()?;
    Some((u32::from_be_bytes(*generation), Zeroizing::new(secret.try_into().ok()?)))
}

/// Relative paths in the variables are to be ignored (XDG Base Directory Specification).
fn usual_base(xdg: Option<OsString>, home: Option<OsString>) -> Result<PathBuf, Error> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let state = xdg.and_then(absolute).or_else(|| Some(home.and_then(absolute)?.join(".local/state")));
    state.map(|state| state.join("p2p-fed")).ok_or(Error::NoHome)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        io::{BufRead, BufReader, Write},
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
        process::{Child, ChildStdout, Command, Stdio},
    };

    use super::*;

    const NETWORK: &str = "k7qd-93ma";

    /// A host with a state folder and a runtime folder.
    struct Host {
        folder: tempfile::TempDir,
    }

    impl Host {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap() }
        }

        fn base(&self) -> PathBuf {
            self.folder.path().join("state/p2p-fed")
        }

        fn runtime(&self) -> RuntimeDir {
            RuntimeDir::at(&self.folder.path().join("run")).unwrap()
        }

        fn claim(&self, name: &str, vary: bool) -> Result<StateDir, Error> {
            StateDir::claim(&self.base(), &self.runtime(), NETWORK, &name.parse().unwrap(), vary)
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_generation_is_kept_and_a_damaged_one_is_none() {
        let host = Host::new();
        let state = host.claim("a", false).unwrap();
        assert_eq!(state.load_generation(), None);
        state.save_generation(3, &[7; 32]).unwrap();
        assert_eq!(state.load_generation().map(|(generation, secret)| (generation, *secret)), Some((3, [7; 32])));
        let path = state.path().join("generation");
        assert_eq!(mode(&path), 0o600);
        fs::write(&path, [1; 35]).unwrap();
        assert_eq!(state.load_generation(), None);
    }

    #[test]
    fn is_laid_out_as_documented() {
        let host = Host::new();
        let state = host.claim("gpu1", false).unwrap();
        state.identity().unwrap();
        state.persist_seq(1).unwrap();
        state.save_snapshot([vec![1]].into_iter()).unwrap();
        assert_eq!(state.path(), host.base().join("k7qd-93ma/gpu1"));
        let mut found: Vec<_> = fs::read_dir(state.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        found.sort();
        assert_eq!(found, ["identity", "lock", "seq", "snapshot"]);
        for folder in [host.base(), host.base().join(NETWORK), state.path().to_owned()] {
            assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        }
        for file in ["identity", "lock", "seq", "snapshot"] {
            assert_eq!(mode(&state.path().join(file)), 0o600, "{file}");
        }
    }

    #[test]
    fn identity_and_sequence_outlive_the_process() {
        let host = Host::new();
        let state = host.claim("gpu1", false).unwrap();
        let node = state.identity().unwrap().node_id();
        state.persist_seq(42).unwrap();
        drop(state);
        let state = host.claim("gpu1", false).unwrap();
        assert_eq!(state.identity().unwrap().node_id(), node);
        assert_eq!(state.load_seq(), Some(42));
    }

    #[test]
    fn a_second_process_gets_its_own() {
        let host = Host::new();
        let all: Vec<_> = (0..4).map(|_| host.claim("gpu1", true).unwrap()).collect();
        let names: Vec<_> = all.iter().map(|state| state.name().as_str()).collect();
        assert_eq!(names, ["gpu1", "gpu1-2", "gpu1-3", "gpu1-4"]);
        let mut nodes: Vec<_> = all.iter().map(|state| state.identity().unwrap().node_id()).collect();
        nodes.sort();
        nodes.dedup();
        assert_eq!(nodes.len(), 4);
        all.iter().zip(1..).for_each(|(state, n)| assert_eq!(state.save_snapshot([vec![n]].into_iter()).unwrap(), 0));
        let snapshots: Vec<_> =
            all.iter().flat_map(|state| state.load_snapshot().items().collect::<Vec<_>>().concat()).collect();
        assert_eq!(snapshots, [1, 2, 3, 4]);
        drop(all);
        assert_eq!(host.claim("gpu1", true).unwrap().name().as_str(), "gpu1");
    }

    #[test]
    fn a_chosen_name_is_not_varied() {
        let host = Host::new();
        let _first = host.claim("gpu1", false).unwrap();
        let error = host.claim("gpu1", false).unwrap_err();
        let lock = host.runtime().path().join("gpu1.lock");
        let expected =
            format!("{} is held by another process: stop that one, or choose another --name", lock.display());
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_name_is_one_nodes_on_a_host_whatever_its_folder_or_network() {
        let host = Host::new();
        let _first = host.claim("gpu1", false).unwrap();
        let (elsewhere, name) = (host.folder.path().join("elsewhere"), "gpu1".parse().unwrap());
        let other_folder = StateDir::claim(&elsewhere, &host.runtime(), NETWORK, &name, false);
        assert!(matches!(other_folder, Err(Error::InUse { .. })));
        assert!(!elsewhere.join(NETWORK).join("gpu1").exists(), "the loser left no folder");
        let other_network = StateDir::claim(&host.base(), &host.runtime(), "other-net", &name, true).unwrap();
        assert_eq!(other_network.name().as_str(), "gpu1-2");
    }

    #[test]
    fn a_folder_is_one_nodes_whatever_its_runtime_folder() {
        let host = Host::new();
        let _first = host.claim("gpu1", false).unwrap();
        let runtime = RuntimeDir::at(&host.folder.path().join("run2")).unwrap();
        let claim = |vary| StateDir::claim(&host.base(), &runtime, NETWORK, &"gpu1".parse().unwrap(), vary);
        let error = claim(false).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("{} is held", host.base().join("k7qd-93ma/gpu1/lock").display())),
            "{error}"
        );
        assert_eq!(claim(true).unwrap().name().as_str(), "gpu1-2");
    }

    #[test]
    fn folders_that_others_planted_or_opened_are_refused() {
        let host = Host::new();
        drop(host.claim("gpu1", false).unwrap());
        let network = host.base().join(NETWORK);
        fs::set_permissions(network.join("gpu1"), Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(host.claim("gpu1", false), Err(Error::Exposed { mode: 0o755, .. })));
        symlink("/tmp", network.join("gpu2")).unwrap();
        assert!(matches!(host.claim("gpu2", false), Err(Error::NotPlain { .. })));
        fs::set_permissions(&network, Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(host.claim("gpu3", false), Err(Error::Exposed { mode: 0o770, .. })));
    }

    #[test]
    fn an_exposed_identity_is_refused_with_the_cure() {
        let host = Host::new();
        let state = host.claim("gpu1", false).unwrap();
        state.identity().unwrap();
        let path = state.path().join("identity");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let error = state.identity().unwrap_err().to_string();
        assert!(error.contains("open to other users (mode 0644)"), "{error}");
        assert!(error.ends_with(&format!("`chmod 600 {}`", path.display())), "{error}");
    }

    #[test]
    fn the_usual_base_follows_xdg() {
        let base = |xdg: Option<&str>, home: Option<&str>| usual_base(xdg.map(Into::into), home.map(Into::into)).ok();
        assert_eq!(base(Some("/x"), Some("/home/u")), Some("/x/p2p-fed".into()));
        assert_eq!(base(None, Some("/home/u")), Some("/home/u/.local/state/p2p-fed".into()));
        assert_eq!(base(Some("relative"), Some("/home/u")), Some("/home/u/.local/state/p2p-fed".into()));
        assert_eq!(base(Some(""), None), None);
        assert_eq!(base(None, Some("relative")), None);
    }

    // === Two processes ===

    /// Not a test by itself: what the other process of [`a_process_that_dies_gives_everything_back`] runs. It claims, says
    /// which name it got, and stays until its standard input ends.
    #[test]
    fn other_process() {
        let Some(folder) = std::env::var_os("P2P_FED_TEST_HOST").map(PathBuf::from) else { return };
        let runtime = RuntimeDir::at(&folder.join("run")).unwrap();
        let name = "gpu1".parse().unwrap();
        let state = StateDir::claim(&folder.join("state/p2p-fed"), &runtime, NETWORK, &name, true).unwrap();
        println!("\nclaimed {} {}", state.name(), state.identity().unwrap().node_id());
        std::io::stdout().flush().unwrap();
        std::io::stdin().lines().for_each(drop);
    }

    /// The other process, the name it got and its node id.
    struct Other {
        child: Child,
        /// Kept open to the end: the test harness in there wants to print.
        _stdout: BufReader<ChildStdout>,
        name: String,
        node: String,
    }

    impl Other {
        fn start(host: &Host) -> Self {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--nocapture", "identity::state_dir::tests::other_process"])
                .env("P2P_FED_TEST_HOST", host.folder.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdout = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            while !line.starts_with("claimed ") {
                line.clear();
                assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "it ended without a claim");
            }
            let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            Self { child, _stdout: stdout, name: words[1].clone(), node: words[2].clone() }
        }
    }

    #[test]
    fn a_process_that_dies_gives_everything_back() {
        let host = Host::new();
        let (mut first, mut second) = (Other::start(&host), Other::start(&host));
        assert_eq!((first.name.as_str(), second.name.as_str()), ("gpu1", "gpu1-2"));
        assert_ne!(first.node, second.node);
        assert_eq!(host.claim("gpu1", true).unwrap().name().as_str(), "gpu1-3");

        first.child.kill().unwrap();
        first.child.wait().unwrap();
        let heir = host.claim("gpu1", false).unwrap();
        assert_eq!(heir.identity().unwrap().node_id().to_string(), first.node);

        drop(second.child.stdin.take());
        assert!(second.child.wait().unwrap().success());
    }
}
