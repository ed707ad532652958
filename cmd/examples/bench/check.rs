//! What is looked at once for each path, before or after the rounds.

use super::{
    figure::Figure,
    first_byte, half_close,
    herd::Herd,
    lab::{Chain, Lab},
    path::Path,
    recovery,
    taken::Taken,
};

/// Connections that do nothing.
const IDLE: usize = 1000;

/// Bytes of a MiB.
const MIB: f64 = 1048576.0;

/// One look at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// What connections take that do nothing.
    Idle,
    /// A client that has ended its half is answered.
    HalfClose,
    /// From the start of a front to the first byte.
    FirstByte,
    /// The backend's side is killed.
    Recovery,
}

impl Check {
    /// In the order in which they are shown.
    pub(super) const ALL: [Self; 4] = [Self::Idle, Self::HalfClose, Self::FirstByte, Self::Recovery];

    /// Made first: memory that was used for something else and is kept would be taken for no memory at all.
    pub(super) const BEFORE: [Self; 1] = [Self::Idle];

    /// Made last, in this order: a kill leaves nothing to look at.
    pub(super) const AFTER: [Self; 3] = [Self::HalfClose, Self::FirstByte, Self::Recovery];

    /// Makes it; none where there is nothing to look at.
    pub(super) async fn make(self, lab: &mut Lab, path: Path) -> anyhow::Result<Option<Taken>> {
        let chain = lab.chain(path)?;
        let is_direct = chain.is_direct();
        Ok(match self {
            Self::Idle => Some(idle(chain).await?),
            Self::HalfClose => {
                let backend = chain.entry.tcp;
                let checked = half_close::check(backend).await;
                let mut taken = Taken { values: vec![Some(f64::from(checked.is_ok()))], ..Taken::default() };
                if let Err(error) = checked {
                    taken.errors.note(&error);
                }
                Some(taken)
            }
            Self::FirstByte => match lab.p2p_fed().filter(|_| path == Path::P2pFed) {
                Some(p2p_fed) => Some(first_byte::measure(p2p_fed).await.map(|ms| vec![Some(ms)]).into()),
                None => None,
            },
            Self::Recovery if is_direct => None,
            Self::Recovery => Some(recovery::measure(lab, path).await),
        })
    }

    /// How often it is made; what depends on chance more than once.
    pub(super) fn times(self) -> usize {
        match self {
            Self::FirstByte => 5,
            _ => 1,
        }
    }

    /// What it gives.
    pub(super) fn figures(self) -> &'static [Figure] {
        match self {
            Self::Idle => &IDLE_FIGURES,
            Self::HalfClose => &HALF_CLOSE,
            Self::FirstByte => &FIRST_BYTE,
            Self::Recovery => &RECOVERY,
        }
    }
}

async fn idle(chain: &Chain) -> anyhow::Result<Taken> {
    let before = chain.resident()?;
    let mut herd = Herd::open(&[chain.entry.tcp], IDLE).await;
    let after = chain.resident()?;
    let alive = herd.alive().await;
    let mut errors = std::mem::take(&mut herd.errors);
    if alive < IDLE {
        errors.note(&anyhow::anyhow!("{alive} of {IDLE} idle connections are alive"));
    }
    let added = (after as f64 - before as f64) / MIB;
    Ok(Taken { values: vec![(!chain.is_direct()).then_some(added), Some(alive as f64)], errors })
}

const IDLE_FIGURES: [Figure; 2] = [
    Figure::lower("idle_1000_mib", "1000 idle, added MiB", "MiB"),
    Figure::higher("idle_1000_alive", "  alive after", "connections"),
];
const HALF_CLOSE: [Figure; 1] = [Figure::answer("half_close", "half-close is carried")];
const FIRST_BYTE: [Figure; 1] = [Figure::lower("first_byte_ms", "front: start to first byte, ms", "ms")];
const RECOVERY: [Figure; 2] = [
    Figure::lower("killed_ended_ms", "far side killed: noticed, ms", "ms"),
    Figure::lower("killed_served_ms", "  next one served, ms", "ms"),
];
