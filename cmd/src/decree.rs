//! The next decree of a network's issuer: made from the last one, signed, and handed to the node that runs here.

use clap::Args;
use p2p_fed::{
    api::{Client, Issued},
    identity::{DecreeFile, IssuerFile, RuntimeDir},
    ledger::{Decree, NetworkId, SignedDecree},
};

use crate::{clock, exit::Failure};

/// Which node hands the decree on.
#[derive(Clone, Debug, Args)]
pub(crate) struct NodeChoice {
    /// The node that hands it on, by its name or its control socket; not needed where only one is running
    #[arg(long, value_name = "NAME|SOCKET")]
    node: Option<String>,
}

/// What the node that runs here knows of its network's issuer.
pub(crate) struct Asked {
    client: Client,
    pub(crate) issued: Issued,
    pub(crate) network_id: NetworkId,
}

/// A decree in the making.
pub(crate) struct Draft {
    client: Client,
    issuer: IssuerFile,
    /// Held so that nobody else decides meanwhile.
    decrees: DecreeFile,
    /// The last decree, with the number of the next.
    pub(crate) decree: Decree,
}

impl NodeChoice {
    /// Asks the node.
    ///
    /// # Errors
    /// There is none, or it gives no answer.
    pub(crate) async fn ask(&self) -> Result<Asked, Failure> {
        let runtime = RuntimeDir::open().map_err(Failure::run)?;
        let client = Client::find(runtime.path(), self.node.as_deref()).await?;
        let issued = client.issued().await?;
        let network_id = issued.network_id().ok_or_else(|| unusable(&client))?;
        Ok(Asked { client, issued, network_id })
    }
}

impl Asked {
    /// The next decree, which says all that the last one said. The last one is what the node has or what lies beside the
    /// issuer's key, whichever is later: a node that was just started may not have heard of it yet.
    ///
    /// # Errors
    /// The last decree cannot be read, or somebody else is deciding right now.
    pub(crate) fn draft(self, issuer: IssuerFile) -> Result<Draft, Failure> {
        let decrees = issuer.decrees().map_err(Failure::usage)?;
        let kept = decrees.load(&issuer.public()).map_err(Failure::usage)?;
        let known = match &self.issued.decree {
            Some(known) => Some(known.verify(&issuer.public()).ok_or_else(|| unusable(&self.client))?),
            None => None,
        };
        let last = [kept, known].into_iter().flatten().filter(|last| last.decree().network == self.network_id);
        let now = clock::unix_ms();
        let decree = match last.max_by_key(SignedDecree::rank) {
            None => Decree::empty(self.network_id, 1, now),
            Some(last) => {
                let number = last.decree().number.checked_add(1);
                let number = number.ok_or_else(|| Failure::run("this issuer has no number left for another decree"))?;
                Decree { number, issued_ms: now, ..(**last.decree()).clone() }
            }
        };
        Ok(Draft { client: self.client, issuer, decrees, decree })
    }
}

impl Draft {
    /// Signs it and hands it over. Its number.
    ///
    /// # Errors
    /// It says too much, or the node does not take it; nothing was decided then.
    pub(crate) async fn enact(self) -> Result<u64, Failure> {
        let signed = SignedDecree::sign(self.decree, self.issuer.key()).map_err(Failure::run)?;
        let number = self.client.decide(signed.bytes()).await?;
        if let Err(error) = self.decrees.replace(&signed) {
            // The node has it, and with it the network.
            tracing::warn!(%error, "decree is in force but was not kept beside the issuer's key");
        }
        Ok(number)
    }
}

fn unusable(client: &Client) -> Failure {
    let path = client.path().display();
    Failure::run(format_args!("the node at {path} gave no usable answer about its issuer (another version?)"))
}
