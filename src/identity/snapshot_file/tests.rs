use std::{fs::Permissions, os::unix::fs::PermissionsExt, thread};

use proptest::prelude::*;

use super::*;

fn in_folder() -> (tempfile::TempDir, SnapshotFile) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snapshot");
    (folder, SnapshotFile::new(path))
}

/// Items of different lengths, none like another.
fn items() -> Vec<Vec<u8>> {
    (1..=7).map(|n: u8| vec![n; usize::from(n) * 5]).collect()
}

fn bytes_of(items: &[Vec<u8>]) -> Vec<u8> {
    let mut content = Vec::new();
    assert_eq!(encode(items.iter().cloned(), &mut content).unwrap(), 0);
    content
}

fn found(snapshot: &Snapshot) -> Vec<Vec<u8>> {
    snapshot.items().map(<[u8]>::to_vec).collect()
}

fn names(folder: &tempfile::TempDir) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_saved_is_loaded() {
    let (folder, file) = in_folder();
    assert_eq!(found(&file.load()), Vec::<Vec<u8>>::new());
    file.save(items().into_iter()).unwrap();
    assert_eq!(found(&file.load()), items());
    file.save(items().into_iter().skip(3)).unwrap();
    assert_eq!(found(&file.load()), items()[3..]);
    assert_eq!(file.load().damaged(), 0);
    file.save([].into_iter()).unwrap();
    assert_eq!((found(&file.load()), file.load().damaged()), (Vec::new(), 0));
    assert_eq!(names(&folder), ["snapshot"]);
    assert_eq!(fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o600);
}

/// The sum is that of RFC 3720 B.4: 32 zeros.
#[test]
fn bytes_on_disk() {
    let mut expected = b"p2p-fed snapshot\x01\0\0\0\x20".to_vec();
    expected.extend(0x8a91_36aa_u32.to_be_bytes());
    expected.extend([0; 32]);
    assert_eq!(bytes_of(&[vec![0; 32]]), expected);
}

#[test]
fn a_cut_file_gives_what_was_whole() {
    let content = bytes_of(&items());
    let ends: Vec<_> = Snapshot::decode(content.clone()).unwrap().items.iter().map(|range| range.end).collect();
    for cut in 0..content.len() {
        let snapshot = Snapshot::decode(content[..cut].to_vec());
        assert_eq!(snapshot.is_some(), cut >= HEADER, "cut at {cut}");
        let Some(snapshot) = snapshot else { continue };
        let whole = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(found(&snapshot), items()[..whole], "cut at {cut}");
        let at_an_end = cut == HEADER || ends.contains(&cut);
        assert_eq!(snapshot.damaged(), usize::from(!at_an_end), "cut at {cut}");
    }
}

#[test]
fn a_flipped_bit_costs_its_item_or_what_comes_after_its_length() {
    let content = bytes_of(&items());
    let ranges = Snapshot::decode(content.clone()).unwrap().items;
    for (at, bit) in (0..content.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut flipped = content.clone();
        flipped[at] ^= 1 << bit;
        let Some(snapshot) = Snapshot::decode(flipped) else {
            assert!(at < HEADER, "bit {bit} of byte {at}");
            continue;
        };
        let hit = ranges.iter().position(|range| at < range.end).unwrap();
        let found = found(&snapshot);
        assert!(snapshot.damaged() >= 1, "bit {bit} of byte {at}");
        assert_eq!(found[..hit], items()[..hit], "bit {bit} of byte {at}");
        assert!(found.iter().all(|item| items().contains(item)), "bit {bit} of byte {at}");
        let in_length = at < ranges[hit].start - 4;
        if !in_length {
            assert_eq!(found[hit..], items()[hit + 1..], "bit {bit} of byte {at}");
            assert_eq!(snapshot.damaged(), 1);
        }
    }
}

#[test]
fn a_disk_that_gives_zeros_gives_no_items() {
    let mut content = bytes_of(&items());
    let len = content.len();
    content[HEADER + 45..len].fill(0);
    let snapshot = Snapshot::decode(content).unwrap();
    assert_eq!(found(&snapshot), items()[..2]);
    assert!(snapshot.damaged() >= 1);
}

#[test]
fn what_is_too_large_is_left_out() {
    let (_folder, file) = in_folder();
    let odd = [vec![1], vec![], vec![2; ITEM_MAX], vec![3; ITEM_MAX + 1], vec![4]];
    assert_eq!(file.save(odd.clone().into_iter()).unwrap(), 2);
    assert_eq!(found(&file.load()), [odd[0].clone(), odd[2].clone(), odd[4].clone()]);

    let many = FILE_MAX / (HEAD + ITEM_MAX);
    let left_out = file.save((0..many + 3).map(|_| vec![7; ITEM_MAX])).unwrap();
    assert_eq!(left_out, 3);
    assert_eq!(file.load().items().count(), many);
    assert!(fs::metadata(&file.path).unwrap().len() <= FILE_MAX as u64);
}

#[test]
fn a_huge_file_is_read_up_to_the_bound() {
    let (_folder, file) = in_folder();
    file.save(items().into_iter()).unwrap();
    fs::OpenOptions::new().write(true).open(&file.path).unwrap().set_len(10 * FILE_MAX as u64).unwrap();
    let snapshot = file.load();
    assert_eq!(found(&snapshot), items());
    assert_eq!(snapshot.content.len(), FILE_MAX);
}

#[test]
fn a_file_of_another_version_is_moved_aside() {
    let (folder, file) = in_folder();
    let mut newer = bytes_of(&items());
    newer[HEADER - 1] = 9;
    safe_file::replace(&file.path, &newer).unwrap();
    assert_eq!(file.load().items().count(), 0);
    assert_eq!(names(&folder), ["snapshot"], "loading changes nothing");
    file.save(items().into_iter()).unwrap();
    assert_eq!(names(&folder), ["snapshot", "snapshot.9"]);
    assert_eq!(fs::read(folder.path().join("snapshot.9")).unwrap(), newer);
    assert_eq!(found(&file.load()), items());

    safe_file::replace(&file.path, b"something else").unwrap();
    file.save(items().into_iter()).unwrap();
    file.save(items().into_iter()).unwrap();
    assert_eq!(names(&folder), ["snapshot", "snapshot.9", "snapshot.unknown"]);
    assert_eq!(fs::read(folder.path().join("snapshot.unknown")).unwrap(), b"something else");
}

#[test]
fn a_planted_link_is_not_followed() {
    let (folder, file) = in_folder();
    let victim = folder.path().join("victim");
    fs::write(&victim, bytes_of(&items())).unwrap();
    for planted in [&file.path, &file.path.with_extension("new")] {
        std::os::unix::fs::symlink(&victim, planted).unwrap();
    }
    assert_eq!(file.load().items().count(), 0);
    file.save([vec![1]].into_iter()).unwrap();
    assert_eq!(fs::read(&victim).unwrap(), bytes_of(&items()));
    assert_eq!(found(&file.load()), [vec![1]]);
    assert_eq!(names(&folder), ["snapshot", "victim"]);
}

#[test]
fn what_others_could_have_written_is_not_believed() {
    let (_folder, file) = in_folder();
    file.save(items().into_iter()).unwrap();
    fs::set_permissions(&file.path, Permissions::from_mode(0o666)).unwrap();
    assert_eq!(file.load().items().count(), 0);
    file.save(items().into_iter()).unwrap();
    assert_eq!(found(&file.load()), items());
}

#[test]
fn writers_queue_up() {
    let (folder, file) = in_folder();
    let generations: Vec<Vec<Vec<u8>>> = (1..=8).map(|n| vec![vec![n; 999]; 99]).collect();
    thread::scope(|scope| {
        for generation in &generations {
            scope.spawn(|| file.save(generation.iter().cloned()).unwrap());
        }
    });
    assert!(generations.contains(&found(&file.load())));
    assert_eq!(names(&folder), ["snapshot"]);
}

proptest! {
    #[test]
    fn any_items_come_back(items: Vec<Vec<u8>>) {
        let whole: Vec<_> = items.iter().filter(|item| !item.is_empty()).cloned().collect();
        let snapshot = Snapshot::decode(bytes_of(&whole)).unwrap();
        prop_assert_eq!(found(&snapshot), whole);
        prop_assert_eq!(snapshot.damaged(), 0);
    }

    #[test]
    fn any_bytes_are_taken_apart(tail: Vec<u8>) {
        let content = [&MAGIC[..], &[VERSION], &tail].concat();
        let snapshot = Snapshot::decode(content.clone()).unwrap();
        let sum: usize = snapshot.items().map(|item| HEAD + item.len()).sum();
        prop_assert!(HEADER + sum <= content.len());
        prop_assert_eq!(snapshot.damaged() == 0, HEADER + sum == content.len());
    }
}
