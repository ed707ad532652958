//! Which invitations for one machine are used up, and by whom.
//!
//! Kept in the form of a snapshot, one item for each: `serial[16] ‖ node[32] ‖ expires u64`. An invitation that has expired
//! needs no keeping: nobody takes it any more.

use std::{collections::BTreeMap, time::SystemTime};

use super::{Error, snapshot_file::SnapshotFile};
use crate::ledger::{NodeId, Serial};

/// Invitations remembered. An issuer who writes more for one network than this in their lifetime is a flood; those spent
/// first go, which lets their machines' doubles in.
const REMEMBERED: usize = 16_384;

/// Bytes of an item.
const ITEM: usize = 16 + 32 + 8;

/// What is spent, here and on the disk.
#[derive(Debug)]
pub struct SpentFile {
    file: SnapshotFile,
    spent: BTreeMap<Serial, (NodeId, u64)>,
}

impl SpentFile {
    /// What was spent when the file was written last. A damaged item is left out, with a warning in the log.
    pub(super) fn load(file: SnapshotFile) -> Self {
        let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let snapshot = file.load();
        let kept = snapshot.items().filter_map(decode).filter(|(_, (_, expires))| *expires == 0 || *expires > now_s);
        let spent = kept.collect();
        Self { file, spent }
    }

    /// Who used the invitation.
    pub fn holder(&self, serial: &Serial) -> Option<NodeId> {
        self.spent.get(serial).map(|(node, _)| *node)
    }

    /// Writes down that `node` used the invitation, which expires then (0: never). When this returns, it survives a power cut.
    ///
    /// Blocks on the disk for a moment; that happens once for each invitation.
    ///
    /// # Errors
    ///
    /// When it can't be written. The invitation then counts as not used; another try may succeed.
    pub fn spend(&mut self, serial: Serial, node: NodeId, expires_unix_s: u64) -> Result<(), Error> {
        if self.spent.len() >= REMEMBERED {
            self.spent.pop_first();
        }
        self.spent.insert(serial, (node, expires_unix_s));
        let saved = self.file.save(self.spent.iter().map(|(serial, (node, expires))| encode(serial, node, *expires)));
        if saved.is_err() {
            self.spent.remove(&serial);
        }
        saved.map(drop)
    }
}

fn encode(serial: &Serial, node: &NodeId, expires: u64) -> Vec<u8> {
    [&serial.0[..], node.as_bytes(), &expires.to_be_bytes()].concat()
}

fn decode(item: &[u8]) -> Option<(Serial, (NodeId, u64))> {
    let item: &[u8; ITEM] = item.try_into().ok()?;
    let (serial, rest) = item.split_first_chunk()?;
    let (node, expires) = rest.split_first_chunk()?;
    Some((Serial(*serial), (NodeId::from_bytes(*node), u64::from_be_bytes(expires.try_into().ok()?))))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    fn load(folder: &tempfile::TempDir) -> SpentFile {
        SpentFile::load(SnapshotFile::new(folder.path().join("spent")))
    }

    #[test]
    fn what_was_spent_stays_so_until_it_has_expired() {
        let folder = tempfile::tempdir().unwrap();
        let mut spent = load(&folder);
        spent.spend(Serial([1; 16]), node(1), 0).unwrap();
        spent.spend(Serial([2; 16]), node(2), 5).unwrap();
        spent.spend(Serial([3; 16]), node(3), u64::MAX).unwrap();
        assert_eq!(spent.holder(&Serial([2; 16])), Some(node(2)));
        let again = load(&folder);
        let holders = [1, 2, 3, 4].map(|n| again.holder(&Serial([n; 16])));
        assert_eq!(holders, [Some(node(1)), None, Some(node(3)), None]);
    }

    #[test]
    fn what_can_not_be_written_is_not_spent() {
        let folder = tempfile::tempdir().unwrap();
        let mut spent = load(&folder);
        // A folder where the draft belongs can't be removed like one.
        fs::create_dir(folder.path().join("spent.new")).unwrap();
        assert!(spent.spend(Serial([1; 16]), node(1), 0).is_err());
        assert_eq!(spent.holder(&Serial([1; 16])), None);
        fs::remove_dir(folder.path().join("spent.new")).unwrap();
        spent.spend(Serial([1; 16]), node(1), 0).unwrap();
        assert_eq!(load(&folder).holder(&Serial([1; 16])), Some(node(1)));
    }
}
