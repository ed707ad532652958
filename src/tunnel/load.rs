//! What a worker reports of one service: how busy its backend is, over all fronts and for the one that is told.
//!
//! A **report** is [`Load::BYTES`] bytes, all integers big-endian:
//!
//! | field | bytes | |
//! |---|---|---|
//! | in flight | 4 | requests and connections at the backend, of all fronts, and requests of others where it tells |
//! | slots | 4 | how many it works on at once; 0 where nobody knows |
//! | number | 8 | grows with each report of one worker, across its restarts |
//! | yours | 4 | those in flight of the front that is told |
//! | received | 8 | requests and connections that this front sent so far |
//! | queued | 2 | requests that wait inside the backend |
//! | rate | 4 | IEEE 754 binary32: bytes of responses per second and busy slot; 0 while nothing is known |
//! | cache | 1 | share of the backend's cache memory in use, 0 to 100; 255 where nobody knows |
//! | flags | 1 | bit 0: takes no new work; the others 0 |
//!
//! It rides on verdicts and on the ends of requests and connections, and is pushed on a tunnel of class
//! [`Load`](super::Class::Load) while there is something to tell.

use super::{MessageError, message::Fields};

/// One report. Its default is a worker of which nothing is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Requests and connections at the backend now, over all fronts, the one just accepted included, and requests of others
    /// where it tells.
    pub in_flight: u32,
    /// How many the backend works on at once; 0 where nobody knows.
    pub slots: u32,
    /// Grows with each report of one worker, across its restarts, so that an older one that arrives late is told apart.
    pub number: u64,
    /// Those in flight that came from the front that is told.
    pub yours: u32,
    /// Requests and connections that this front sent so far, of this run of the worker.
    pub received: u64,
    /// Requests that wait inside the backend, where it says so.
    pub queued: u16,
    /// Bytes of responses per second and busy slot; 0 while nothing is known. Never negative, never NaN.
    pub rate: f32,
    /// Share of the backend's cache memory in use, 0 to 100, where it says so.
    pub cache: Option<u8>,
    /// It takes no new work.
    pub draining: bool,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            in_flight: 0,
            slots: 0,
            number: 0,
            yours: 0,
            received: 0,
            queued: 0,
            rate: 0.0,
            cache: None,
            draining: false,
        }
    }
}

/// Stands for "nobody knows" where a share is meant.
const UNKNOWN: u8 = 255;
const DRAINING: u8 = 1;

impl Load {
    /// Bytes of one report.
    pub const BYTES: usize = 36;

    /// Appends the report.
    pub(super) fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.in_flight.to_be_bytes());
        to.extend_from_slice(&self.slots.to_be_bytes());
        to.extend_from_slice(&self.number.to_be_bytes());
        to.extend_from_slice(&self.yours.to_be_bytes());
        to.extend_from_slice(&self.received.to_be_bytes());
        to.extend_from_slice(&self.queued.to_be_bytes());
        to.extend_from_slice(&self.rate.to_be_bytes());
        to.push(self.cache.map_or(UNKNOWN, |share| share.min(100)));
        to.push(if self.draining { DRAINING } else { 0 });
    }

    /// Takes a report off. A rate that is no rate is read as unknown, so that nobody's arithmetic depends on the peer.
    pub(super) fn decode(fields: &mut Fields<'_>) -> Result<Self, MessageError> {
        Ok(Self {
            in_flight: u32::from_be_bytes(fields.array()?),
            slots: u32::from_be_bytes(fields.array()?),
            number: u64::from_be_bytes(fields.array()?),
            yours: u32::from_be_bytes(fields.array()?),
            received: u64::from_be_bytes(fields.array()?),
            queued: u16::from_be_bytes(fields.array()?),
            rate: Some(f32::from_be_bytes(fields.array()?))
                .filter(|rate| rate.is_finite() && *rate > 0.0)
                .unwrap_or(0.0),
            cache: Some(fields.byte()?).filter(|share| *share <= 100),
            draining: fields.byte()? & DRAINING != 0,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any report that a worker may make.
    pub(crate) fn any_load() -> impl Strategy<Value = Load> {
        let counts = (any::<u32>(), any::<u32>(), any::<u64>(), any::<u32>(), any::<u64>(), any::<u16>());
        let rest = (0.0f32..1e9, prop::option::of(0..=100u8), any::<bool>());
        (counts, rest).prop_map(|((in_flight, slots, number, yours, received, queued), (rate, cache, draining))| Load {
            in_flight,
            slots,
            number,
            yours,
            received,
            queued,
            rate,
            cache,
            draining,
        })
    }

    proptest! {
        #[test]
        fn a_report_comes_back(load in any_load()) {
            let mut bytes = Vec::new();
            load.encode(&mut bytes);
            prop_assert_eq!(bytes.len(), Load::BYTES);
            prop_assert_eq!(Load::decode(&mut Fields(&bytes)).unwrap(), load);
        }

        #[test]
        fn no_peer_can_send_a_rate_that_is_none(bytes in prop::array::uniform32(any::<u8>()), more: [u8; 4]) {
            let bytes = [&bytes[..], &more].concat();
            let load = Load::decode(&mut Fields(&bytes)).unwrap();
            prop_assert!(load.rate.is_finite() && load.rate >= 0.0);
            prop_assert!(load.cache.is_none_or(|share| share <= 100));
        }
    }
}
