//! Keeps this node's record true: its name, where it listens, what it offers, and whether it is going.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    gossip::Gossip,
    identity::NodeName,
    ledger::{Service, Statement},
    net::Net,
    worker::Worker,
};

/// How far the node has come on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mood {
    Staying,
    Draining,
    Leaving,
}

/// Makes the record say that this node goes.
#[derive(Debug)]
pub(super) struct Farewell {
    wanted: watch::Sender<Mood>,
    said: watch::Receiver<Mood>,
}

impl Farewell {
    /// Returns once the record that asks for no new work is on its way.
    pub(super) async fn draining(&self) {
        self.say(Mood::Draining).await;
    }

    /// Returns once the record that says good-bye is on its way.
    pub(super) async fn leaving(&self) {
        self.say(Mood::Leaving).await;
    }

    async fn say(&self, mood: Mood) {
        self.wanted.send_if_modified(|wanted| {
            let further = mood > *wanted;
            *wanted = mood.max(*wanted);
            further
        });
        // An error means that the speaker has ended, with the network: there is nobody to tell.
        let _ = self.said.clone().wait_for(|said| *said >= mood).await;
    }
}

/// The task, and the handle that ends its record.
pub(super) fn spawn(
    name: NodeName,
    net: Net,
    gossip: Gossip,
    worker: Worker,
    stop: CancellationToken,
) -> (impl Future<Output = &'static str> + Send + 'static, Farewell) {
    let (wanted, mut moods) = watch::channel(Mood::Staying);
    let (saying, said) = watch::channel(Mood::Staying);
    let task = async move {
        let mut addresses = net.addresses();
        let mut offers = worker.offers();
        loop {
            let mood = *moods.borrow_and_update();
            let listening = addresses.borrow_and_update().iter().map(ToString::to_string).collect();
            let offered = Arc::clone(&offers.borrow_and_update());
            gossip.publish(statement(&name, listening, &offered, mood)).await;
            saying.send_replace(mood);
            // A sender that is gone says nothing new; the stop comes next.
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Ok(()) = moods.changed() => {}
                Ok(()) = addresses.changed() => {}
                Ok(()) = offers.changed() => {}
                else => {
                    stop.cancelled().await;
                    break;
                }
            }
        }
        "own record"
    };
    (task, Farewell { wanted, said })
}

fn statement(name: &NodeName, addresses: Vec<String>, offered: &[Service], mood: Mood) -> Statement {
    Statement {
        name: name.as_str().to_owned(),
        addresses,
        services: if mood == Mood::Leaving { Vec::new() } else { offered.to_vec() },
        draining: mood >= Mood::Draining,
        leaving: mood == Mood::Leaving,
    }
}
