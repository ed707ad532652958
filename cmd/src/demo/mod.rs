//! `p2p-fed demo`: the main job shown at work, with nothing but the binary.
//!
//! A front and three workers are started in this process, as separate nodes that join over real connections; behind each
//! worker is a small HTTP server that says who it is. Requests go through the front, one worker is killed under them and
//! comes back, and every number told is counted at the client. Whatever does not go as promised ends the demo with an
//! error: it is a test that can be watched.
//!
//! ```text
//! client ─▶ demo-front ═══ tunnel ═══▶ demo-1 ─▶ backend
//!                      ═══════════════▶ demo-2 ─▶ backend      killed, and brought back
//!                      ═══════════════▶ demo-3 ─▶ backend
//! ```
//!
//! What happens is [data](event), told by a [teller] as a story or as JSON.

mod backend;
mod client;
mod event;
mod load;
mod network;
mod tally;
mod teller;

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use anyhow::ensure;
use clap::Args;
use event::Event;
use load::Load;
use network::Network;
use p2p_fed::{config::LogSettings, telemetry};
use tally::Tally;
use teller::{Style, Teller};
use tokio::task::JoinSet;

use crate::{
    cli::LogFlags,
    exit::Failure,
    output::{Output, OutputFlags},
    signals::Signals,
};

/// Requests sent at once: ten for each worker.
const BURST: usize = 30;

/// Who is killed.
const VICTIM: &str = "demo-2";

/// How long requests go on in each state of the network: long enough for some hundreds.
const WHILE: Duration = Duration::from_millis(1500);

/// Show the main job at work: a front, three workers, a failover; needs no network, touches no other node
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  p2p-fed demo\n  p2p-fed demo --once -o json | jq -c 'select(.event == \"answered\")'"
)]
pub(crate) struct Demo {
    /// End after the show, instead of staying for you to try
    #[arg(long)]
    once: bool,

    #[command(flatten)]
    output: OutputFlags,
}

impl Demo {
    /// Runs it: to the end of the show with `--once`, else until it is interrupted. Nothing is left behind in any case.
    pub(crate) async fn perform(self, log: &LogFlags) -> Result<(), Failure> {
        // A worker that is killed makes nodes warn, and here that is the plan.
        let quiet = LogSettings { level: Some("error".to_owned()), format: None };
        telemetry::init(&log.settings().over(quiet).resolve())?;
        let mut signals =
            Signals::listen().map_err(|error| Failure::run(format_args!("cannot listen to signals: {error}")))?;
        let stdout = io::stdout();
        let style = match self.output.output {
            Output::Json => Style::Json,
            Output::Yaml => return Err(Failure::usage("the demo is told as text or as json: choose one of them")),
            Output::Text if stdout.is_terminal() && wants_colour() => Style::Colour,
            Output::Text => Style::Plain,
        };

        let mut show = Show { teller: Teller::new(stdout, style), started: Instant::now(), step: 0 };
        let network = tokio::select! {
            network = Box::pin(show.run()) => network.map_err(failure)?,
            () = signals.stop() => return Err(Failure::Interrupted("the demo was interrupted")),
        };
        if !self.once {
            show.invite(&network).map_err(failure)?;
            tokio::select! {
                error = network.failed() => return Err(error.into()),
                () = signals.stop() => {}
            }
        }
        tokio::select! {
            () = Box::pin(network.stop()) => {}
            // Who asks twice does not want to wait.
            () = signals.stop() => {}
        }
        Ok(())
    }
}

/// As <https://no-color.org> has it.
fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
}

fn failure(error: anyhow::Error) -> Failure {
    match error.downcast_ref::<io::Error>() {
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Failure::Closed,
        _ => Failure::run(format_args!("the demo failed: {error:#}")),
    }
}

struct Show<W> {
    teller: Teller<W>,
    started: Instant,
    /// Steps so far.
    step: usize,
}

impl<W: io::Write> Show<W> {
    async fn run(&mut self) -> anyhow::Result<Network> {
        self.teller.tell(&Event::Begin { version: env!("CARGO_PKG_VERSION") })?;
        let step = self.begin("Start a front and three workers")?;
        let mut network = Network::start().await?;
        self.introduce(&network)?;
        self.end(step)?;

        let step = self.begin(&format!("Send {BURST} requests at once"))?;
        self.burst(&network, "Who answered").await?;
        self.end(step)?;

        let step = self.begin("Stream an answer")?;
        self.stream(&network).await?;
        self.end(step)?;

        let step = self.begin(&format!("Kill {VICTIM} while {} clients keep asking", load::CLIENTS))?;
        let load = Load::start(network.address()?, Tally::of(Network::worker_names()));
        tokio::time::sleep(WHILE).await;
        self.kill(&mut network, &load).await?;
        self.end(step)?;

        let step = self.begin(&format!("Bring {VICTIM} back"))?;
        self.revive(&mut network, load).await?;
        self.burst(&network, &format!("{BURST} requests at once again")).await?;
        self.end(step)?;

        self.teller.tell(&Event::Done { took: self.started.elapsed() })?;
        Ok(network)
    }

    /// Leaves the network to the user.
    fn invite(&mut self, network: &Network) -> anyhow::Result<()> {
        let (url, socket) = (format!("http://{}/", network.address()?), network.control_socket().display().to_string());
        Ok(self.teller.tell(&Event::Open { url, socket })?)
    }

    fn introduce(&mut self, network: &Network) -> anyhow::Result<()> {
        let (front, workers) = (network.front()?, network.workers());
        let (network, through) = (network.id().to_owned(), network.meeting_place());
        Ok(self.teller.tell(&Event::Joined { network, through, front, workers })?)
    }

    /// Sends requests all at once; every worker must have a share in the answers.
    async fn burst(&mut self, network: &Network, during: &str) -> anyhow::Result<()> {
        let front = network.address()?;
        let mut requests: JoinSet<_> = (0..BURST).map(|_| client::get(front)).collect();
        let mut tally = Tally::of(Network::worker_names());
        while let Some(outcome) = requests.join_next().await {
            tally.count(outcome?);
        }
        self.answered(during.to_owned(), tally)
    }

    /// Reads one streamed answer; its chunks must arrive as they are sent.
    async fn stream(&mut self, network: &Network) -> anyhow::Result<()> {
        let mut told = Ok(());
        let mut heard = Vec::new();
        client::listen(network.address()?, |after, text| {
            heard.push(after);
            if told.is_ok() {
                told = self.teller.tell(&Event::Chunk { after, text: text.to_owned() });
            }
        })
        .await?;
        told?;
        ensure!(heard.len() == backend::WORDS.len(), "{} chunks of {} arrived", heard.len(), backend::WORDS.len());
        let spread =
            heard.last().zip(heard.first()).map_or(Duration::ZERO, |(last, first)| last.saturating_sub(*first));
        let said_over = backend::PAUSE * u32::try_from(heard.len() - 1).unwrap_or(u32::MAX);
        // A busy machine may eat some of it; a front that collects would eat all.
        ensure!(spread > said_over / 4, "the chunks did not arrive as they were sent, but within {spread:?}");
        Ok(())
    }

    /// Kills a worker under load; no request may fail for it.
    async fn kill(&mut self, network: &mut Network, load: &Load) -> anyhow::Result<()> {
        let killed = Instant::now();
        network.kill(VICTIM).await;
        let missed = async {
            network.wait_until(VICTIM, false).await?;
            anyhow::Ok(killed.elapsed())
        };
        let (before, after) = tokio::join!(load.cut(), missed);
        self.answered("Asked while all three worked".to_owned(), before)?;
        self.teller.tell(&Event::Killed { worker: VICTIM.to_owned() })?;
        self.teller.tell(&Event::Missed { worker: VICTIM.to_owned(), after: after? })?;
        tokio::time::sleep(WHILE).await;
        let tally = load.cut().await;
        self.teller
            .tell(&Event::Answered { during: format!("Asked since {VICTIM} was killed"), tally: tally.clone() })?;
        tally.check()
    }

    /// Starts it again under load; it must get work again.
    async fn revive(&mut self, network: &mut Network, load: Load) -> anyhow::Result<()> {
        let started = Instant::now();
        network.revive(VICTIM).await?;
        network.wait_until(VICTIM, true).await?;
        self.teller.tell(&Event::Returned { worker: VICTIM.to_owned(), after: started.elapsed() })?;
        tokio::time::sleep(WHILE).await;
        let tally = load.end().await;
        self.answered(format!("Asked since {VICTIM} was started again"), tally)
    }

    /// Tells who answered.
    ///
    /// # Errors
    /// A request failed, or a worker had no share.
    fn answered(&mut self, during: String, tally: Tally) -> anyhow::Result<()> {
        self.teller.tell(&Event::Answered { during, tally: tally.clone() })?;
        tally.check()?;
        let idle = tally.answered.iter().find(|(_, count)| **count == 0);
        ensure!(idle.is_none(), "{} answered no request", idle.map_or("", |(worker, _)| worker));
        Ok(())
    }

    fn begin(&mut self, title: &str) -> io::Result<Instant> {
        self.step += 1;
        self.teller.tell(&Event::Step { step: self.step, title: title.to_owned() })?;
        Ok(Instant::now())
    }

    fn end(&mut self, begun: Instant) -> io::Result<()> {
        self.teller.tell(&Event::Took { step: self.step, took: begun.elapsed() })
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, io::BufRead};

    use super::*;

    /// Every event of a whole show.
    async fn watch() -> Vec<serde_json::Value> {
        let teller = Teller::new(Vec::new(), Style::Json);
        let mut show = Show { teller, started: Instant::now(), step: 0 };
        let network = Box::pin(show.run()).await.unwrap();
        network.stop().await;
        show.teller.into_inner().lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_demos_at_once_both_succeed_and_do_not_meet() {
        let (one, other) = tokio::join!(tokio::spawn(watch()), tokio::spawn(watch()));
        let shows = [one.unwrap(), other.unwrap()];
        let mut addresses = HashSet::new();
        for show in &shows {
            let all = |event| show.iter().filter(move |it| it["event"] == event);
            let joined = all("joined").next().unwrap();
            assert!(addresses.insert(joined["front"]["address"].clone()), "two fronts on one address");
            let answered: Vec<_> = all("answered").collect();
            assert_eq!(answered.len(), 5);
            assert!(answered.iter().all(|it| it["failed"] == 0), "{answered:?}");
            // Between the kill and the return, and only then.
            assert_eq!(
                answered.iter().map(|it| it["answered"][VICTIM] == 0).collect::<Vec<_>>(),
                [false, false, true, false, false]
            );
            assert_eq!(all("chunk").count(), backend::WORDS.len());
            assert_eq!(show.last().unwrap()["event"], "done");
        }
    }
}
