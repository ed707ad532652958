//! What happens in a demo, as data: the story for people and the JSON lines for scripts are two readings of it.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::tally::Tally;

/// One thing that happened.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Event {
    /// The demo begins.
    Begin {
        /// Of the program.
        version: &'static str,
    },
    /// A step begins.
    Step {
        /// Counted from 1.
        step: usize,
        /// What it shows.
        title: String,
    },
    /// The nodes run and know each other.
    Joined {
        /// The network's short id.
        network: String,
        /// Whom the workers were told to dial.
        through: String,
        /// The node in front.
        front: Member,
        /// The nodes behind it.
        workers: Vec<Member>,
    },
    /// Some requests were answered.
    Answered {
        /// What was going on meanwhile.
        during: String,
        /// Who answered how many.
        #[serde(flatten)]
        tally: Tally,
    },
    /// A piece of a streamed answer arrived.
    Chunk {
        /// Since the request.
        #[serde(rename = "after_s", serialize_with = "seconds")]
        after: Duration,
        /// The piece.
        text: String,
    },
    /// A worker's node and backend were ended, without a word to anybody.
    Killed {
        /// Whose.
        worker: String,
    },
    /// The front counts a worker out.
    Missed {
        /// Whom.
        worker: String,
        /// Since the kill.
        #[serde(rename = "after_s", serialize_with = "seconds")]
        after: Duration,
    },
    /// The front counts a worker in again.
    Returned {
        /// Whom.
        worker: String,
        /// Since it was started.
        #[serde(rename = "after_s", serialize_with = "seconds")]
        after: Duration,
    },
    /// A step is over.
    Took {
        /// Counted from 1.
        step: usize,
        /// How long it took.
        #[serde(rename = "took_s", serialize_with = "seconds")]
        took: Duration,
    },
    /// All went as it should.
    Done {
        /// Since the start.
        #[serde(rename = "took_s", serialize_with = "seconds")]
        took: Duration,
    },
    /// The network stays, for the user to try.
    Open {
        /// Where the front listens.
        url: String,
        /// The control socket of the node in front.
        socket: String,
    },
}

/// A node of the demo.
#[derive(Debug, Serialize)]
pub(super) struct Member {
    /// Its name on this host.
    pub(super) name: String,
    /// Its id, shortened.
    pub(super) node: String,
    /// Where its front listens, or its backend.
    pub(super) address: String,
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}
