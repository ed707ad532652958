//! How busy a model server says it is: a few lines of its Prometheus text.

use super::answer;
use crate::worker::Target;

/// What a backend says of its load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) struct Figures {
    /// Requests that wait inside it, of all its models and ranks.
    pub(in crate::worker) queued: u16,
    /// Share of its cache memory in use, 0 to 100: that of the model or rank that has the least left.
    pub(in crate::worker) cache: Option<u8>,
}

/// Requests that wait: llama.cpp, vLLM, SGLang.
const QUEUED: [&str; 3] = ["llamacpp:requests_deferred", "vllm:num_requests_waiting", "sglang:num_queue_reqs"];

/// Share of the cache in use, from 0 to 1: llama.cpp until 2025, vLLM since 0.10 and before, SGLang.
const CACHE: [&str; 4] =
    ["llamacpp:kv_cache_usage_ratio", "vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage"];

/// Asks at `path`; none if it does not tell.
pub(super) async fn of(target: &Target, path: &str) -> Option<Figures> {
    let body = answer(target, path).await.body()?;
    parse(std::str::from_utf8(&body).ok()?)
}

/// The figures in a text of Prometheus's exposition format; none if there are none of a model server's. vLLM gives both
/// names of its cache for a while, and the larger counts.
fn parse(text: &str) -> Option<Figures> {
    let (mut queued, mut cache, mut known) = (0.0, None, false);
    for (name, value) in text.lines().filter_map(sample) {
        if QUEUED.contains(&name) {
            queued += value;
            known = true;
        } else if CACHE.contains(&name) {
            cache = Some(value.max(cache.unwrap_or(0.0)));
            known = true;
        }
    }
    // Casts from floating point saturate.
    known.then_some(Figures { queued: queued as u16, cache: cache.map(|share| (share.min(1.0) * 100.0).round() as u8) })
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
        assert_eq!(parse(llama), Some(Figures { queued: 2, cache: None }));
        let vllm = "vllm:num_requests_running{engine=\"0\",model_name=\"a\"} 8.0\n\
            vllm:num_requests_waiting{engine=\"0\",model_name=\"a {b} 7\"} 3.0\n\
            vllm:num_requests_waiting{engine=\"1\",model_name=\"a\"} 1.0\n\
            vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"a\"} 0.256\n\
            vllm:kv_cache_usage_perc{engine=\"1\",model_name=\"a\"} 0.874\n";
        assert_eq!(parse(vllm), Some(Figures { queued: 4, cache: Some(87) }));
        let sglang =
            "sglang:token_usage{model_name=\"m\"} 0.28\nsglang:num_queue_reqs{model_name=\"m\"} 2826.0 1700000000\n";
        assert_eq!(parse(sglang), Some(Figures { queued: 2826, cache: Some(28) }));
    }

    #[test]
    fn other_people_s_metrics_are_none_and_odd_values_hurt_nobody() {
        assert_eq!(parse("http_requests_total 7\nnot_vllm:num_requests_waiting 3\n"), None);
        assert_eq!(parse("vllm:num_requests_waiting NaN\nvllm:num_requests_waiting -1"), None);
        let odd = "vllm:num_requests_waiting 1e30\nvllm:kv_cache_usage_perc 1e300\n";
        assert_eq!(parse(odd), Some(Figures { queued: u16::MAX, cache: Some(100) }));
    }

    proptest! {
        #[test]
        fn no_text_can_hurt(lines in prop::collection::vec("(vllm:num_requests_waiting|.{0,10})(\\{.{0,20})?\\}?[ 0-9eE+.-]{0,20}", 0..20)) {
            let figures = parse(&lines.join("\n"));
            prop_assert!(figures.is_none_or(|figures| figures.cache.is_none_or(|share| share <= 100)));
        }
    }
}
