//! Asking the node that runs here.

use std::time::Duration;

use clap::Args;
use p2p_fed::{
    api::{Client, client::Error},
    identity::RuntimeDir,
    telemetry,
};
use serde::Serialize;
use tokio::time::sleep;

use crate::{
    cli::LogFlags,
    exit::Failure,
    output::{self, Output, OutputFlags},
    signals::Signals,
};

/// Between two questions of `--watch`: people see no difference, and the node does not notice.
const PERIOD: Duration = Duration::from_secs(1);

/// Whom to ask, and how to show the answer.
#[derive(Debug, Args)]
pub(crate) struct AskFlags {
    /// The node to ask, by its name or its control socket; not needed where only one is running
    #[arg(long, value_name = "NAME|SOCKET")]
    node: Option<String>,

    /// Show each change until interrupted
    #[arg(short, long)]
    watch: bool,

    #[command(flatten)]
    output: OutputFlags,
}

/// What a node answers.
pub(crate) trait Answer: Serialize + Sized {
    /// For people.
    fn show(&self) -> String;

    /// Whether it says something else than before.
    fn is_news(&self, before: &Self) -> bool;
}

/// Asks `question` once, or until interrupted.
pub(crate) async fn ask<A: Answer>(
    flags: &AskFlags,
    log: &LogFlags,
    question: impl AsyncFn(&Client) -> Result<A, Error>,
) -> Result<(), Failure> {
    telemetry::init(&log.settings().resolve())?;
    let runtime = RuntimeDir::open().map_err(Failure::run)?;
    let client = Client::find(runtime.path(), flags.node.as_deref()).await?;
    let answer = question(&client).await?;
    if !flags.watch {
        return flags.output.output.show(&answer, || answer.show());
    }
    let mut signals =
        Signals::listen().map_err(|error| Failure::run(format_args!("cannot listen to signals: {error}")))?;
    tokio::select! {
        ended = follow(&client, question, answer, flags.output.output) => ended,
        () = signals.stop() => Err(Failure::Interrupted("interrupted")),
    }
}

/// Shows each answer that is news. Ends only with a failure.
async fn follow<A: Answer>(
    client: &Client,
    question: impl AsyncFn(&Client) -> Result<A, Error>,
    mut answer: A,
    output: Output,
) -> Result<(), Failure> {
    loop {
        match output {
            Output::Text => output::redraw(&answer.show())?,
            format => format.show_next(&answer, || answer.show())?,
        }
        loop {
            sleep(PERIOD).await;
            let next = question(client).await?;
            if next.is_news(&answer) {
                answer = next;
                break;
            }
        }
    }
}
