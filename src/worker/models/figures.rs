//! How busy a model server says it is: a few lines of its Prometheus text, or llama.cpp's list of slots.

use serde::Deserialize;

use super::{Kind, Reply, json, question};
use crate::worker::Target;

/// What a backend says of its load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// Requests that it works on, whoever sent them.
    pub(super) running: u16,
    /// Requests that wait inside it, of all its models and ranks.
    pub(super) queued: u16,
    /// Share of its cache memory in use, 0 to 100: that of the model or rank that has the least left.
    pub(super) cache: Option<u8>,
}

/// Where a backend tells how busy it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// `GET /metrics`, in Prometheus's exposition format.
    Metrics,
    /// `GET /slots` of llama.cpp, which has its metrics only where it was started with them. It says nothing of what waits.
    Slots,
}

impl Source {
    /// Where this backend does, if anywhere. It was told so when it was started, and is not asked again.
    pub(super) async fn of(target: &Target, kind: Kind) -> Option<Self> {
        let sources: &[Self] = match kind {
            Kind::LlamaCpp => &[Self::Metrics, Self::Slots],
            Kind::Vllm | Kind::Sglang => &[Self::Metrics],
            Kind::Ollama | Kind::LocalAi | Kind::OpenAi => &[],
        };
        for source in sources {
            if source.figures(target).await.is_some() {
                return Some(*source);
            }
        }
        None
    }

    /// Asks; none if it does not tell.
    pub(super) async fn figures(self, target: &Target) -> Option<Figures> {
        match self {
            Self::Metrics => match question(target, "/metrics").await {
                Reply::Body(body) => parse(std::str::from_utf8(&body).ok()?),
                Reply::Status(_) | Reply::Away | Reply::Silent => None,
            },
            Self::Slots => {
                let slots: Vec<Slot> = json(target, "/slots").await?;
                let running = slots.iter().filter(|slot| slot.is_processing).count();
                Some(Figures { running: u16::try_from(running).unwrap_or(u16::MAX), ..Figures::default() })
            }
        }
    }
}

/// One of `GET /slots`.
#[derive(Debug, Deserialize)]
struct Slot {
    is_processing: bool,
}

/// Requests that are worked on: llama.cpp, vLLM, SGLang.
const RUNNING: [&str; 3] = ["llamacpp:requests_processing", "vllm:num_requests_running", "sglang:num_running_reqs"];

/// Requests that wait: llama.cpp, vLLM, SGLang.
const QUEUED: [&str; 3] = ["llamacpp:requests_deferred", "vllm:num_requests_waiting", "sglang:num_queue_reqs"];

/// Share of the cache in use, from 0 to 1: llama.cpp until 2025, vLLM since 0.10 and before, SGLang.
const CACHE: [&str; 4] =
    ["llamacpp:kv_cache_usage_ratio", "vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage"];

/// The figures in a text of Prometheus's exposition format; none if there are none of a model server's. vLLM gives both
/// names of its cache for a while, and the larger counts.
fn parse(text: &str) -> Option<Figures> {
    let (mut running, mut queued, mut cache, mut known) = (0.0, 0.0, None, false);
    for (name, value) in text.lines().filter_map(sample) {
        if RUNNING.contains(&name) {
            running += value;
        } else if QUEUED.contains(&name) {
            queued += value;
        } else if CACHE.contains(&name) {
            cache = Some(value.max(cache.unwrap_or(0.0)));
        } else {
            continue;
        }
        known = true;
    }
    // Casts from floating point saturate.
    let cache = cache.map(|share: f64| (share.min(1.0) * 100.0).round() as u8);
    known.then_some(Figures { running: running as u16, queued: queued as u16, cache })
}

/// One line: a name, labels that are not looked at, and a value. Values that are no number, or less than nothing, are none.
fn sample(line: &str) -> Option<(&str, f64)> {
    let (name, rest) = match line.split_once('{') {
        // A label's value may hold anything but an unescaped quote; the last brace ends them.
        Some((name, rest)) => (name, rest.rsplit_once('}')?.1),
        None => line.split_once([' ', '\t'])?,
    };
    let value: f64 = rest.split_ascii_whitespace().next()?.parse().ok()?;
    (value.is_finite() && value >= 0.0).then_some((name.trim(), value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_server_s_own_lines_are_read() {
        let llama = "# HELP llamacpp:requests_processing Number of requests processing.\n\
            # TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing 4\n\
            # HELP llamacpp:requests_deferred Number of requests deferred.\n\
            # TYPE llamacpp:requests_deferred gauge\nllamacpp:requests_deferred 2\n";
        assert_eq!(parse(llama), Some(Figures { running: 4, queued: 2, cache: None }));
        let vllm = "vllm:num_requests_running{engine=\"0\",model_name=\"a\"} 8.0\n\
            vllm:num_requests_waiting{engine=\"0\",model_name=\"a {b} 7\"} 3.0\n\
            vllm:num_requests_waiting{engine=\"1\",model_name=\"a\"} 1.0\n\
            vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"a\"} 0.256\n\
            vllm:kv_cache_usage_perc{engine=\"1\",model_name=\"a\"} 0.874\n";
        assert_eq!(parse(vllm), Some(Figures { running: 8, queued: 4, cache: Some(87) }));
        let sglang =
            "sglang:token_usage{model_name=\"m\"} 0.28\nsglang:num_queue_reqs{model_name=\"m\"} 2826.0 1700000000\n";
        assert_eq!(parse(sglang), Some(Figures { running: 0, queued: 2826, cache: Some(28) }));
    }

    #[test]
    fn other_people_s_metrics_are_none_and_odd_values_hurt_nobody() {
        assert_eq!(parse("http_requests_total 7\nnot_vllm:num_requests_waiting 3\n"), None);
        assert_eq!(parse("vllm:num_requests_waiting NaN\nvllm:num_requests_waiting -1"), None);
        let odd = "vllm:num_requests_waiting 1e30\nvllm:kv_cache_usage_perc 1e300\n";
        assert_eq!(parse(odd), Some(Figures { running: 0, queued: u16::MAX, cache: Some(100) }));
    }

    proptest! {
        #[test]
        fn no_text_can_hurt(lines in prop::collection::vec("(vllm:num_requests_waiting|.{0,10})(\\{.{0,20})?\\}?[ 0-9eE+.-]{0,20}", 0..20)) {
            let figures = parse(&lines.join("\n"));
            prop_assert!(figures.is_none_or(|figures| figures.cache.is_none_or(|share| share <= 100)));
        }
    }
}
