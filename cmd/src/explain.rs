//! `p2p-fed explain`: why recent requests went where they went.

use std::str::FromStr;

use clap::Args;
use p2p_fed::{
    api::{Attempt, COUNT_MAX, Client, Explained, Request, Wanted, client::Error},
    tunnel::is_service_name,
};
use serde::Serialize;

use crate::{
    ask::{Answer, AskFlags, ask},
    cli::LogFlags,
    clock::time_of_day,
    exit::Failure,
    status::short,
    table::{Table, bytes, clean, milliseconds, or_dash},
};

/// Characters of a request's path that a line of the list has room for.
const WHAT_SHOWN: usize = 40;

/// Ask the node running here why recent requests went where they went
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  p2p-fed explain                    # the newest requests, one a line\n  p2p-fed explain 17                 # all of one: each worker that was tried, whom it was chosen among, and why\n  p2p-fed explain llm/17 -o json\n  p2p-fed explain --service llm --watch"
)]
pub(crate) struct Explain {
    /// The request to tell all of: its number, or SERVICE/NUMBER where several fronts have it [default: list the newest]
    #[arg(value_name = "REQUEST")]
    request: Option<Which>,

    /// Only requests of this service
    #[arg(long, value_name = "NAME")]
    service: Option<ServiceName>,

    /// How many of the newest, up to 512
    #[arg(
        short = 'n',
        long,
        value_name = "COUNT",
        default_value_t = 20,
        value_parser = clap::value_parser!(u16).range(1..=COUNT_MAX as i64),
        conflicts_with = "request"
    )]
    count: u16,

    #[command(flatten)]
    ask: AskFlags,
}

/// `[SERVICE/]NUMBER`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Which {
    service: Option<ServiceName>,
    number: u64,
}

/// A name that a service may have.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ServiceName(String);

impl FromStr for ServiceName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = is_service_name(text).then(|| Self(text.to_owned()));
        name.ok_or("the name of a service is 1 to 63 of a-z, 0-9, '-' and '.'")
    }
}

impl FromStr for Which {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (service, number) = match text.split_once('/') {
            Some((service, number)) => (Some(service.parse()?), number),
            None => (None, text),
        };
        let number = number.parse().map_err(|_| "a request is its number, or SERVICE/NUMBER")?;
        Ok(Self { service, number })
    }
}

impl Explain {
    /// Asks once, or until interrupted.
    pub(crate) async fn perform(&self, log: &LogFlags) -> Result<(), Failure> {
        let wanted = self.wanted()?;
        match wanted.number {
            None => ask(&self.ask, log, async |client: &Client| client.explain(&wanted).await).await,
            Some(_) => {
                let story =
                    async |client: &Client| -> Result<Story, Error> { client.explain(&wanted).await.map(Story) };
                ask(&self.ask, log, story).await
            }
        }
    }

    fn wanted(&self) -> Result<Wanted, Failure> {
        let of_request = self.request.as_ref().and_then(|which| which.service.as_ref());
        if let (Some(one), Some(other)) = (of_request, &self.service)
            && one != other
        {
            return Err(Failure::usage(format_args!("the request is one of {}, not of {}", one.0, other.0)));
        }
        Ok(Wanted {
            service: of_request.or(self.service.as_ref()).map(|service| service.0.clone()),
            number: self.request.as_ref().map(|which| which.number),
            count: usize::from(self.count),
        })
    }
}

/// The newest, one a line.
impl Answer for Explained {
    fn show(&self) -> String {
        match self.requests.is_empty() {
            true => "no requests: none has ended since this node started\n".to_owned(),
            false => list(&self.requests).to_string(),
        }
    }

    fn is_news(&self, before: &Self) -> bool {
        self != before
    }
}

/// All of one; of several where fronts share a service.
#[derive(Serialize)]
#[serde(transparent)]
struct Story(Explained);

impl Answer for Story {
    fn show(&self) -> String {
        self.0.requests.iter().map(story).collect::<Vec<_>>().join("\n")
    }

    fn is_news(&self, before: &Self) -> bool {
        self.0 != before.0
    }
}

fn list(requests: &[Request]) -> Table {
    let mut table = Table::new([
        "REQUEST",
        "TIME",
        "CLIENT",
        "WHAT",
        "MODEL",
        "WORKER",
        "BECAUSE",
        "TRIES",
        "STATUS",
        "FIRST BYTE",
        "TOTAL",
        "TOKENS",
    ]);
    let several = requests.windows(2).any(|pair| matches!(pair, [a, b] if a.service != b.service));
    for request in requests {
        let last = last(request);
        table.row([
            if several { format!("{}/{}", request.service, request.number) } else { request.number.to_string() },
            time_of_day(request.at_unix_ms),
            request.client.clone(),
            shortened(&request.what),
            or_dash(request.model.as_ref()),
            or_dash(last.map(|attempt| &attempt.name)),
            or_dash(last.map(|attempt| &attempt.because)),
            request.attempts.len().to_string(),
            request.status.map_or_else(|| shortened(&request.outcome), |status| status.to_string()),
            or_dash(request.first_byte_ms.map(milliseconds)),
            milliseconds(request.total_ms),
            or_dash(request.tokens.map(|tokens| format!("{}+{}", tokens.read, tokens.made))),
        ]);
    }
    table.without_unknown(&["MODEL", "TOKENS"])
}

/// Who answered; the last that was tried, where nobody did.
fn last(request: &Request) -> Option<&Attempt> {
    request.attempts.iter().rfind(|attempt| attempt.fault.is_none()).or(request.attempts.last())
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(WHAT_SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn story(request: &Request) -> String {
    let mut page = summary(request).to_string();
    for (attempt, number) in request.attempts.iter().zip(1..) {
        page.push_str(&format!("\n{}\n{}", clean(&headline(attempt, number)), candidates(attempt)));
    }
    page
}

fn summary(request: &Request) -> Table {
    let mut table = Table::default();
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("request", format!("{}/{} at {}", request.service, request.number, request.front));
    if !request.id.is_empty() {
        row("id", request.id.clone());
    }
    row("time", time_of_day(request.at_unix_ms));
    row("client", request.client.clone());
    row("what", request.what.clone());
    if let Some(model) = &request.model {
        row("model", model.clone());
    }
    let status = request.status.map(|status| format!("{status}, ")).unwrap_or_default();
    row("outcome", format!("{status}{}", request.outcome));
    let first = request.first_byte_ms.map(|first| format!(", first byte after {}", milliseconds(first)));
    row("took", format!("{}{}", milliseconds(request.total_ms), first.unwrap_or_default()));
    row("bytes", format!("{} sent, {} received", bytes(request.bytes_sent), bytes(request.bytes_received)));
    if let Some(tokens) = request.tokens {
        row("tokens", format!("{} read, {} made", tokens.read, tokens.made));
    }
    table
}

/// `1. gpu1: a free slot, fastest first; answered after 3.1ms`.
fn headline(attempt: &Attempt, number: u32) -> String {
    let waited = match attempt.waited_ms {
        waited if waited > 0.0 => format!(", after {} in the queue", milliseconds(waited)),
        _ => String::new(),
    };
    let took = milliseconds(attempt.took_ms);
    let came = match &attempt.fault {
        Some(fault) => format!("given up after {took}: {fault}"),
        None => format!("tried for {took}"),
    };
    format!("{number}. {}: {}{waited}; {came}", attempt.name, attempt.because)
}

fn candidates(attempt: &Attempt) -> Table {
    let mut table = Table::new(["CANDIDATE", "SCORE", "STANDING", "IN FLIGHT", "SLOTS", "RATE", "LATENCY", "NODE"]);
    for candidate in &attempt.candidates {
        table.row([
            candidate.name.clone(),
            or_dash(candidate.score.map(score)),
            candidate.standing.clone(),
            candidate.in_flight.to_string(),
            or_dash((candidate.slots > 0).then_some(candidate.slots)),
            or_dash((candidate.rate > 0.0).then(|| format!("{}/s", bytes(candidate.rate as u64)))),
            or_dash(candidate.latency_ms.map(milliseconds)),
            short(&candidate.node),
        ]);
    }
    table
}

/// With as many digits as tell two apart.
fn score(score: f64) -> String {
    if score == 0.0 || (0.001..1e6).contains(&score.abs()) { format!("{score:.3}") } else { format!("{score:.2e}") }
}

#[cfg(test)]
mod tests {
    use p2p_fed::api::{Candidate, Tokens};

    use super::*;

    fn candidate(name: &str, score: Option<f64>, standing: &str) -> Candidate {
        Candidate {
            node: format!("id-of-{name}"),
            name: name.to_owned(),
            score,
            standing: standing.to_owned(),
            in_flight: 1,
            slots: 4,
            rate: 2048.0,
            latency_ms: Some(3.25),
        }
    }

    fn attempt(name: &str, fault: Option<&str>) -> Attempt {
        let because = "a free slot, fastest first".to_owned();
        let candidates = vec![candidate(name, Some(0.25), "available"), candidate("gpu\u{1b}3", None, "full")];
        let fault = fault.map(str::to_owned);
        Attempt { node: String::new(), name: name.to_owned(), because, waited_ms: 0.0, took_ms: 5.0, fault, candidates }
    }

    fn request() -> Request {
        let mut second = attempt("gpu2", None);
        second.waited_ms = 7.0;
        Request {
            service: "llm".into(),
            front: "127.0.0.1:8080".into(),
            number: 17,
            id: String::new(),
            at_unix_ms: 0,
            client: "127.0.0.1:50000".into(),
            what: "POST /v1/completions".into(),
            model: Some("llama".into()),
            attempts: vec![attempt("gpu1", Some("no path")), second],
            status: Some(200),
            outcome: "served".into(),
            first_byte_ms: Some(20.0),
            total_ms: 800.0,
            bytes_sent: 100,
            bytes_received: 2048,
            tokens: Some(Tokens { read: 12, made: 40 }),
        }
    }

    #[test]
    fn a_line_for_each_request() {
        let time = time_of_day(0);
        let list = Explained { requests: vec![request()] }.show();
        let lines: Vec<_> = list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "REQUEST TIME CLIENT WHAT MODEL WORKER BECAUSE TRIES STATUS FIRST BYTE TOTAL TOKENS".to_owned(),
                format!(
                    "17 {time} 127.0.0.1:50000 POST /v1/completions llama gpu2 a free slot, fastest first 2 200 20.0ms 800.0ms 12+40"
                ),
            ]
        );
    }

    #[test]
    fn fronts_are_told_apart_and_what_nobody_said_has_no_column() {
        let mut other = request();
        (other.service, other.model, other.tokens, other.status) = ("ssh".into(), None, None, None);
        (other.what, other.outcome) = ("x".repeat(90), "the client left".into());
        let mut plain = request();
        (plain.model, plain.tokens) = (None, None);
        let list = Explained { requests: vec![plain, other] }.show();
        assert!(list.contains("llm/17") && list.contains("ssh/17") && list.contains("the client left"), "{list}");
        assert!(!list.contains("MODEL") && !list.contains("TOKENS"), "{list}");
        assert!(list.contains(&format!("  {}…  ", "x".repeat(40))), "{list}");
    }

    #[test]
    fn all_of_one_request() {
        let page = format!(
            "request  llm/17 at 127.0.0.1:8080\n\
             time     {}\n\
             client   127.0.0.1:50000\n\
             what     POST /v1/completions\n\
             model    llama\n\
             outcome  200, served\n\
             took     800.0ms, first byte after 20.0ms\n\
             bytes    100B sent, 2.0KiB received\n\
             tokens   12 read, 40 made\n\
             \n\
             1. gpu1: a free slot, fastest first; given up after 5.0ms: no path\n\
             CANDIDATE  SCORE  STANDING   IN FLIGHT  SLOTS  RATE      LATENCY  NODE\n\
             gpu1       0.250  available  1          4      2.0KiB/s  3.2ms    id-of-gpu1\n\
             gpu?3      -      full       1          4      2.0KiB/s  3.2ms    id-of-gpu?3\n\
             \n\
             2. gpu2: a free slot, fastest first, after 7.0ms in the queue; tried for 5.0ms\n\
             CANDIDATE  SCORE  STANDING   IN FLIGHT  SLOTS  RATE      LATENCY  NODE\n\
             gpu2       0.250  available  1          4      2.0KiB/s  3.2ms    id-of-gpu2\n\
             gpu?3      -      full       1          4      2.0KiB/s  3.2ms    id-of-gpu?3\n",
            time_of_day(0)
        );
        assert_eq!(Story(Explained { requests: vec![request()] }).show(), page);
    }

    #[test]
    fn names_are_no_commands_to_the_terminal() {
        let mut request = request();
        request.attempts[0].name = "gpu\u{1b}[2J".into();
        request.attempts[0].fault = Some("said \u{7}\n".into());
        request.what = "GET /\u{1b}]0;x".into();
        let said =
            Explained { requests: vec![request.clone()] }.show() + &Story(Explained { requests: vec![request] }).show();
        assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{said:?}");
    }

    #[test]
    fn a_request_is_named_by_its_number() {
        assert_eq!("17".parse(), Ok(Which { service: None, number: 17 }));
        assert_eq!("llm/17".parse(), Ok(Which { service: Some(ServiceName("llm".into())), number: 17 }));
        for text in ["", "x", "-1", "llm/", "/17", "LLM/17", "a/b/17"] {
            assert!(text.parse::<Which>().is_err(), "{text}");
        }
    }

    #[test]
    fn scores_have_digits_that_tell_them_apart() {
        assert_eq!([0.0, 0.25, 12.0, 4.2e-9, 3e9].map(score), ["0.000", "0.250", "12.000", "4.20e-9", "3.00e9"]);
    }
}
