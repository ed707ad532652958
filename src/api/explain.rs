//! Why recent requests went where they went: what is asked, and the JSON that is answered.
//!
//! ```text
//! GET /v1/explain?count=N&service=NAME      the newest N requests, of this service alone if one is named
//! GET /v1/explain/[SERVICE/]NUMBER          one of them
//! ```

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::tunnel::is_service_name;

/// Requests that can be asked for at once: as many as one front keeps.
pub const COUNT_MAX: usize = 512;

/// Requests that are told of where nobody says how many.
pub(super) const COUNT: usize = 20;

/// `p2p-fed explain -o json`, of many requests or of one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// In the order in which they came.
    pub requests: Vec<Request>,
}

/// One request or connection that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The service of the front that took it.
    pub service: String,
    /// Where that front listens.
    pub front: String,
    /// Grows by one with each that comes to that front.
    pub number: u64,
    /// Its `x-request-id`; empty where there is none.
    pub id: String,
    /// When it came, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Address and port of who asked.
    pub client: String,
    /// Method and path, without the query; `tcp` or `udp` for what is no request.
    pub what: String,
    /// The model that it named.
    pub model: Option<String>,
    /// The workers that were tried, in order.
    pub attempts: Vec<Attempt>,
    /// The status of the answer; none for what is no request, and where the client was gone.
    pub status: Option<u16>,
    /// How it ended, in a few words.
    pub outcome: String,
    /// From its coming to the first byte of the answer, in milliseconds.
    pub first_byte_ms: Option<f64>,
    /// From its coming to its end, in milliseconds.
    pub total_ms: f64,
    /// Bytes to the worker.
    pub bytes_sent: u64,
    /// Bytes from the worker.
    pub bytes_received: u64,
    /// Tokens that the answer said were read and made.
    pub tokens: Option<Tokens>,
}

/// Tokens of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// In the prompt.
    pub read: u64,
    /// In the answer.
    pub made: u64,
}

/// One worker that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its node's id.
    pub node: String,
    /// Its node's name.
    pub name: String,
    /// What decided for it.
    pub because: String,
    /// How long the request waited for a free slot before, in milliseconds.
    pub waited_ms: f64,
    /// How long it was tried, until its answer began or it was given up, in milliseconds.
    pub took_ms: f64,
    /// Why it was given up; none if it answered.
    pub fault: Option<String>,
    /// Whom the pick looked at, the chosen one first; at most 16.
    pub candidates: Vec<Candidate>,
}

/// One worker as a pick saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its node's id.
    pub node: String,
    /// Its node's name.
    pub name: String,
    /// By the policy's measure; the least wins. None for one that was not among those compared.
    pub score: Option<f64>,
    /// `available`, or what was in its way.
    pub standing: String,
    /// Requests there, of all fronts as far as is known.
    pub in_flight: u32,
    /// How many it works on at once; 0 where nobody knows.
    pub slots: u32,
    /// Bytes of responses per second and busy slot, as it reports; 0 where nobody knows.
    pub rate: f32,
    /// Median time to its first bytes in milliseconds, as the front saw it.
    pub latency_ms: Option<f64>,
}

/// Which requests are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Only those of this service.
    pub service: Option<String>,
    /// Only the one with this number.
    pub number: Option<u64>,
    /// The newest so many.
    pub count: usize,
}

/// Why there is no explanation. One line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unexplained {
    /// The question makes no sense.
    #[error("ask for /v1/explain?count=1…{COUNT_MAX}&service=NAME or for /v1/explain/[SERVICE/]NUMBER")]
    Malformed,
    /// There are no requests, ever.
    #[error("this node has no front, and sees no requests: ask one that runs `p2p-fed serve`")]
    NoFront,
    /// None of this service.
    #[error("this node has no front for service {service}: choose one of {known}")]
    NoService {
        /// The one asked for.
        service: String,
        /// Those that there are.
        known: String,
    },
    /// It is not among those kept.
    #[error("request {0} is not known here: it has not ended, or more than {COUNT_MAX} ended after it")]
    Gone(u64),
    /// It is not clear which.
    #[error("several fronts have such a request: choose one of {0}")]
    Several(String),
}

impl Default for Wanted {
    fn default() -> Self {
        Self { service: None, number: None, count: COUNT }
    }
}

impl Wanted {
    /// What `path` (behind `/v1/explain`) and `query` ask for.
    pub(super) fn parse(path: &str, query: Option<&str>) -> Result<Self, Unexplained> {
        let mut wanted = Self::default();
        if let Some(request) = path.strip_prefix('/') {
            let (service, number) = match request.split_once('/') {
                Some((service, number)) => (Some(service), number),
                None => (None, request),
            };
            wanted.service = service.map(str::to_owned);
            wanted.number = Some(number.parse().map_err(|_| Unexplained::Malformed)?);
        }
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("count", count)) => wanted.count = count.parse().map_err(|_| Unexplained::Malformed)?,
                Some(("service", service)) => wanted.service = Some(service.to_owned()),
                _ => return Err(Unexplained::Malformed),
            }
        }
        let is_name = wanted.service.as_deref().is_none_or(is_service_name);
        if is_name && (1..=COUNT_MAX).contains(&wanted.count) { Ok(wanted) } else { Err(Unexplained::Malformed) }
    }

    /// What it is asked by.
    pub(super) fn route(&self) -> String {
        match (&self.service, self.number) {
            (None, None) => format!("/v1/explain?count={}", self.count),
            (Some(service), None) => format!("/v1/explain?count={}&service={service}", self.count),
            (None, Some(number)) => format!("/v1/explain/{number}"),
            (Some(service), Some(number)) => format!("/v1/explain/{service}/{number}"),
        }
    }

    /// Whether a request of this service with this number is one of them, if it is new enough.
    pub fn takes(&self, service: &str, number: u64) -> bool {
        self.service.as_deref().is_none_or(|wanted| wanted == service)
            && self.number.is_none_or(|wanted| wanted == number)
    }

    /// Picks from `requests`, which are those that it takes, of fronts for `services`.
    ///
    /// # Errors
    /// When there is nothing to pick from, or too much.
    pub fn answer(&self, services: &[&str], mut requests: Vec<Request>) -> Result<Explained, Unexplained> {
        if services.is_empty() {
            return Err(Unexplained::NoFront);
        }
        if let Some(service) = self.service.as_ref().filter(|service| !services.contains(&service.as_str())) {
            let known: BTreeSet<_> = services.iter().copied().collect();
            return Err(Unexplained::NoService { service: service.clone(), known: list(known) });
        }
        if let Some(number) = self.number {
            let of: BTreeSet<_> = requests.iter().map(|request| request.service.as_str()).collect();
            match of.len() {
                0 => return Err(Unexplained::Gone(number)),
                1 => {}
                _ => return Err(Unexplained::Several(list(of.iter().map(|service| format!("{service}/{number}"))))),
            }
        }
        requests.sort_by(|a, b| (a.at_unix_ms, &a.service, a.number).cmp(&(b.at_unix_ms, &b.service, b.number)));
        requests.drain(..requests.len().saturating_sub(self.count));
        Ok(Explained { requests })
    }
}

fn list(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    names.into_iter().map(|name| name.as_ref().to_owned()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::api) fn request(service: &str, number: u64, at_unix_ms: u64) -> Request {
        let candidate = Candidate {
            node: "12D3KooWA".into(),
            name: "gpu1".into(),
            score: Some(0.5),
            standing: "available".into(),
            in_flight: 1,
            slots: 4,
            rate: 1024.0,
            latency_ms: None,
        };
        let attempt = Attempt {
            node: "12D3KooWA".into(),
            name: "gpu1".into(),
            because: "a free slot, fastest first".into(),
            waited_ms: 0.0,
            took_ms: 12.5,
            fault: None,
            candidates: vec![candidate],
        };
        Request {
            service: service.into(),
            front: "127.0.0.1:8080".into(),
            number,
            id: String::new(),
            at_unix_ms,
            client: "127.0.0.1:50000".into(),
            what: "GET /".into(),
            model: None,
            attempts: vec![attempt],
            status: Some(200),
            outcome: "served".into(),
            first_byte_ms: Some(12.5),
            total_ms: 13.0,
            bytes_sent: 0,
            bytes_received: 5,
            tokens: Some(Tokens { read: 3, made: 4 }),
        }
    }

    fn wanted(service: Option<&str>, number: Option<u64>, count: usize) -> Wanted {
        Wanted { service: service.map(str::to_owned), number, count }
    }

    #[test]
    fn what_is_asked_is_read_as_it_is_written() {
        for asked in [
            Wanted::default(),
            wanted(Some("llm"), None, 7),
            wanted(None, Some(17), COUNT),
            wanted(Some("llm.b-1"), Some(u64::MAX), COUNT),
        ] {
            let route = asked.route();
            let (path, query) =
                route.split_once('?').map_or((route.as_str(), None), |(path, query)| (path, Some(query)));
            assert_eq!(Wanted::parse(path.strip_prefix("/v1/explain").unwrap(), query), Ok(asked));
        }
        assert_eq!(Wanted::parse("", None), Ok(Wanted::default()));
        for (path, query) in [
            ("/", None),
            ("/x", None),
            ("/-1", None),
            ("/llm/", None),
            ("/LLM/1", None),
            ("/a/b/1", None),
            ("", Some("count=0")),
            ("", Some("count=513")),
            ("", Some("count")),
            ("", Some("service=")),
            ("", Some("service=A%20b")),
            ("", Some("polcy=1")),
        ] {
            assert_eq!(Wanted::parse(path, query), Err(Unexplained::Malformed), "{path} {query:?}");
        }
    }

    #[test]
    fn the_newest_of_all_fronts_come_in_the_order_of_their_coming() {
        let requests = vec![request("llm", 1, 10), request("llm", 2, 30), request("web", 1, 20), request("web", 2, 40)];
        let explained = wanted(None, None, 3).answer(&["llm", "web"], requests).unwrap();
        let told: Vec<_> = explained.requests.iter().map(|r| (r.service.as_str(), r.number)).collect();
        assert_eq!(told, [("web", 1), ("llm", 2), ("web", 2)]);
        assert_eq!(Wanted::default().answer(&["llm"], vec![]), Ok(Explained::default()), "none yet is an answer");
    }

    #[test]
    fn a_request_that_cannot_be_told_is_told_why() {
        let both = || vec![request("llm", 3, 1), request("web", 3, 2)];
        let error =
            |wanted: Wanted, services: &[&str], requests| wanted.answer(services, requests).unwrap_err().to_string();
        let three = || wanted(None, Some(3), COUNT);
        assert!(error(three(), &[], vec![]).contains("no front"));
        assert!(error(wanted(Some("x"), None, 1), &["llm", "web"], vec![]).ends_with("choose one of llm, web"));
        assert!(error(three(), &["llm"], vec![]).starts_with("request 3 is not known here"));
        assert!(error(three(), &["llm", "web"], both()).ends_with("choose one of llm/3, web/3"));
        // Two fronts for one service are no riddle: both are told.
        let twice = vec![request("llm", 3, 1), request("llm", 3, 2)];
        assert_eq!(three().answer(&["llm", "llm"], twice).unwrap().requests.len(), 2);
    }

    #[test]
    fn a_wish_takes_what_it_names() {
        assert!(Wanted::default().takes("llm", 1) && wanted(Some("llm"), Some(1), 1).takes("llm", 1));
        assert!(!wanted(Some("llm"), None, 1).takes("web", 1) && !wanted(None, Some(1), 1).takes("web", 2));
    }
}
