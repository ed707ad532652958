//! What this node knows of the others, kept so that it need not learn all of it again.
//!
//! ```text
//! "p2p-fed snapshot" ‖ version u8 ‖ item …          item: length u32 ‖ CRC32C of the bytes u32 ‖ bytes
//! ```
//!
//! Integers are big-endian. What an item says is the ledger's affair. The file is a convenience, not the truth: an item that
//! does not check is left out and counted, and the node asks the others as it would without. The sums find damage, not
//! malice: whoever may write here may do all that the node may.
//!
//! A file of another version is not overwritten: the next save moves it aside, to `snapshot.` and its version, for the
//! program that wrote it.

use std::{
    fs,
    io::{self, BufWriter, Read, Write},
    ops::Range,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use super::{Error, safe_file};

const MAGIC: [u8; 16] = *b"p2p-fed snapshot";
const VERSION: u8 = 1;

/// Bytes of the file before the first item.
const HEADER: usize = MAGIC.len() + 1;

/// Bytes of an item before its own.
const HEAD: usize = 8;

/// Bytes of an item: a decree has 48 KiB, a quarantined node two records of 16 KiB. A length above it is damage, and so is none:
/// what a disk lost often reads as zeros.
const ITEM_MAX: usize = 64 * 1024;

/// Bytes of the file: the ledger's 64 MiB, and what surrounds each of its items. It is read into memory whole.
const FILE_MAX: usize = 80 * 1024 * 1024;

/// What a file of snapshots held.
#[derive(Debug, Default)]
pub struct Snapshot {
    content: Vec<u8>,
    items: Vec<Range<usize>>,
    damaged: usize,
}

impl Snapshot {
    /// The items that were whole, in the order in which they were saved.
    pub fn items(&self) -> impl Iterator<Item = &[u8]> {
        self.items.iter().filter_map(|range| self.content.get(range.clone()))
    }

    /// How many places were found damaged. Where a length is damaged, all that comes after is one.
    pub fn damaged(&self) -> usize {
        self.damaged
    }

    /// Takes the bytes of a file apart; `None` if they are not of this version. Takes time in proportion to their number.
    pub fn decode(content: Vec<u8>) -> Option<Self> {
        if kind(&content) != Kind::Ours {
            return None;
        }
        let (mut items, mut damaged, mut at) = (Vec::new(), 0, HEADER);
        while at < content.len() {
            let Some((sum, range)) = head(&content, at) else {
                damaged += 1;
                break;
            };
            at = range.end;
            if content.get(range.clone()).map(crc32c::crc32c) == Some(sum) {
                items.push(range);
            } else {
                damaged += 1;
            }
        }
        Some(Self { content, items, damaged })
    }
}

/// The sum and the place of the item that begins at `at`, if a length that can be true stands there.
fn head(content: &[u8], at: usize) -> Option<(u32, Range<usize>)> {
    let (&[a, b, c, d, sum @ ..], rest) = content.get(at..)?.split_first_chunk::<HEAD>()?;
    let len = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    let start = at + HEAD;
    ((1..=ITEM_MAX).contains(&len) && len <= rest.len()).then(|| (u32::from_be_bytes(sum), start..start + len))
}

/// Whose a file is, by how it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// This version wrote it.
    Ours,
    /// A version wrote it that this one does not know.
    Version(u8),
    /// It was not written here, or its beginning is damaged.
    Unknown,
}

fn kind(content: &[u8]) -> Kind {
    match content.strip_prefix(&MAGIC).and_then(<[u8]>::first) {
        Some(&VERSION) => Kind::Ours,
        Some(&version) => Kind::Version(version),
        None => Kind::Unknown,
    }
}

#[derive(Debug)]
pub(super) struct SnapshotFile {
    path: PathBuf,
    /// Held while the file is written, so that writers queue up; nobody holds it across an `.await`, because there is none.
    writing: Mutex<()>,
}

impl SnapshotFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, writing: Mutex::new(()) }
    }

    pub(super) fn load(&self) -> Snapshot {
        let path = self.path.display();
        let content = match self.read() {
            Ok(None) => return Snapshot::default(),
            Ok(Some(content)) => content,
            Err(error) => {
                tracing::warn!(%path, %error, "snapshot is unusable, starting without");
                return Snapshot::default();
            }
        };
        let found = kind(&content);
        let Some(snapshot) = Snapshot::decode(content) else {
            tracing::warn!(%path, ?found, "snapshot is not of this version, starting without");
            return Snapshot::default();
        };
        if snapshot.damaged > 0 {
            let (whole, damaged) = (snapshot.items.len(), snapshot.damaged);
            tracing::warn!(%path, whole, damaged, "snapshot is damaged, starting with what is whole");
        }
        snapshot
    }

    fn read(&self) -> Result<Option<Vec<u8>>, Error> {
        let Some(file) = safe_file::open(&self.path)? else { return Ok(None) };
        let mut content = Vec::new();
        file.take(FILE_MAX as u64).read_to_end(&mut content).map_err(Error::io("read", &self.path))?;
        Ok(Some(content))
    }

    pub(super) fn save(&self, items: impl Iterator<Item = Vec<u8>>) -> Result<usize, Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.set_aside()?;
        let mut left_out = 0;
        safe_file::replace_with(&self.path, |file| {
            let mut out = BufWriter::new(file);
            left_out = encode(items, &mut out)?;
            out.flush()
        })?;
        Ok(left_out)
    }

    /// Moves a file that this version did not write out of the way.
    fn set_aside(&self) -> Result<(), Error> {
        // What can't be opened safely is nobody's snapshot: a link, say. It is replaced, and nothing behind it touched.
        let Ok(Some(file)) = safe_file::open(&self.path) else { return Ok(()) };
        let mut content = Vec::with_capacity(HEADER);
        file.take(HEADER as u64).read_to_end(&mut content).map_err(Error::io("read", &self.path))?;
        let kept = match kind(&content) {
            Kind::Ours => return Ok(()),
            Kind::Version(version) => self.path.with_extension(version.to_string()),
            Kind::Unknown => self.path.with_extension("unknown"),
        };
        fs::rename(&self.path, &kept).map_err(Error::io("move aside", &self.path))
    }
}

/// Writes a file's content, and says how many items were not written because they are empty or too large, or the file would be.
fn encode(items: impl Iterator<Item = Vec<u8>>, out: &mut impl Write) -> io::Result<usize> {
    out.write_all(&MAGIC)?;
    out.write_all(&[VERSION])?;
    let (mut size, mut left_out) = (HEADER, 0);
    for item in items {
        let whole = HEAD + item.len();
        let fits = (1..=ITEM_MAX).contains(&item.len()) && size + whole <= FILE_MAX;
        let Some(len) = u32::try_from(item.len()).ok().filter(|_| fits) else {
            left_out += 1;
            continue;
        };
        out.write_all(&len.to_be_bytes())?;
        out.write_all(&crc32c::crc32c(&item).to_be_bytes())?;
        out.write_all(&item)?;
        size += whole;
    }
    Ok(left_out)
}

#[cfg(test)]
mod tests;
