//! What crashes and disks do to a node's state. The writers are other processes: this test program again, told by its
//! environment what to do.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Command, Stdio},
};

use super::{Error, RuntimeDir, StateDir};

/// Tells a writer where it is to write.
const FOLDER: &str = "P2P_FED_TEST_FOLDER";

/// Items of a snapshot; some 100 KiB, so that a crash finds them half written.
const ITEMS: usize = 100;

fn claim(folder: &Path) -> StateDir {
    let runtime = RuntimeDir::at(&folder.join("run")).unwrap();
    StateDir::claim(&folder.join("state"), &runtime, "k7qd-93ma", &"gpu1".parse().unwrap(), false).unwrap()
}

fn items(generation: u64) -> impl Iterator<Item = Vec<u8>> {
    (0..ITEMS).map(move |n| generation.to_be_bytes().repeat(128 + n % 3))
}

/// The generation that all items are of.
fn saved(state: &StateDir) -> u64 {
    let snapshot = state.load_snapshot();
    assert_eq!(snapshot.damaged(), 0);
    let all: Vec<_> = snapshot.items().map(<[u8]>::to_vec).collect();
    let generation = u64::from_be_bytes(*all.first().unwrap().first_chunk().unwrap());
    assert_eq!(all, items(generation).collect::<Vec<_>>(), "a snapshot is of one moment");
    generation
}

fn this_program(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", test]).env(FOLDER, folder);
    command
}

/// Not a test by itself: what the process that gets killed runs. It says what it has kept.
#[test]
fn writer() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let state = claim(Path::new(&folder));
    println!();
    for generation in state.load_seq().unwrap_or(0) + 1.. {
        state.persist_seq(generation).unwrap();
        state.save_snapshot(items(generation)).unwrap();
        println!("kept {generation}");
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn a_process_that_is_killed_while_it_writes_loses_nothing_that_it_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut kept = 0;
    for round in 0..12 {
        let mut writer = this_program("identity::tests::writer", folder.path()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(writer.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut told = lines.filter_map(|line| line.strip_prefix("kept ").map(|number| number.parse().unwrap()));
        // Writing takes a while, so each round ends in another part of it.
        kept = told.nth(round % 4).unwrap();
        std::thread::sleep(std::time::Duration::from_micros(370 * round as u64));
        writer.kill().unwrap();
        writer.wait().unwrap();
        kept = told.last().unwrap_or(kept);

        let state = claim(folder.path());
        let (seq, snapshot) = (state.load_seq().unwrap(), saved(&state));
        assert!((kept..=kept + 1).contains(&seq), "kept {kept}, found {seq}");
        assert!((kept..=seq).contains(&snapshot), "kept {kept}, found {snapshot}");
    }
    assert!(kept >= 12);
}

/// Not a test by itself: runs where a tmpfs of 1 MiB is mounted.
#[test]
fn small_disk() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    println!("\nmounted");
    let state = claim(folder);
    state.identity().unwrap();
    state.persist_seq(1).unwrap();
    state.save_snapshot(items(1)).unwrap();
    let is_full = |result: Result<(), Error>| matches!(result, Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::StorageFull);

    // Full in the middle of a snapshot, then without a page to spare.
    let filler = folder.join("filler");
    for (spare, seq) in [(50_000, 2), (0, 3)] {
        let mut full = fs::File::create(&filler).unwrap();
        while full.write_all(&[0; 4096]).is_ok() {}
        let size = full.metadata().unwrap().len();
        full.set_len(size.saturating_sub(spare)).unwrap();
        assert!(is_full(state.save_snapshot(items(2)).map(drop)), "{spare} to spare");
        assert_eq!(is_full(state.persist_seq(seq)), spare == 0);
        assert_eq!((saved(&state), state.load_seq()), (1, Some(2)));
    }
    fs::remove_file(filler).unwrap();
    state.save_snapshot(items(3)).unwrap();
    state.persist_seq(3).unwrap();
    assert_eq!((saved(&state), state.load_seq()), (3, Some(3)));

    // Mounted over itself: the locks are open for writing, so the disk as it is has to stay writable.
    for args in [&["--bind", "."] as &[_], &["-o", "remount,bind,ro"]] {
        let mounted = Command::new("mount").args(args).arg(folder).current_dir(folder).status().unwrap();
        assert!(mounted.success());
    }
    assert!(state.save_snapshot(items(4)).is_err());
    assert!(state.persist_seq(4).is_err());
    assert_eq!((saved(&state), state.load_seq()), (3, Some(3)));
    println!("checked");
}

/// The disk is mounted in a namespace of its own and goes with it.
#[test]
fn a_disk_that_is_full_or_read_only_leaves_what_was_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut inner = Command::new("unshare");
    inner.args(["--mount", "--map-root-user", "sh", "-c"]);
    inner.arg(r#"mount -t tmpfs -o size=1m,mode=700 tmpfs "$1" && shift && exec "$@""#);
    inner.arg("sh").arg(folder.path());
    let program = this_program("identity::tests::small_disk", folder.path());
    inner.arg(program.get_program()).args(program.get_args()).env(FOLDER, folder.path());
    let (mut told, ended) = match inner.stdout(Stdio::piped()).spawn() {
        Ok(mut child) => {
            let mut told = String::new();
            child.stdout.take().unwrap().read_to_string(&mut told).unwrap();
            (told, child.wait().unwrap().success())
        }
        Err(error) => (error.to_string(), false),
    };
    if !told.contains("mounted") {
        told.truncate(200);
        eprintln!("NOT CHECKED: full and read-only disks, since no tmpfs can be mounted here: {told}");
        return;
    }
    assert!(ended && told.contains("checked"), "{told}");
}
