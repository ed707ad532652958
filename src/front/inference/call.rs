//! The calls of the APIs that model servers speak.

use hyper::Method;

/// Whose API a request is of: what errors and lists look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::front) enum Api {
    OpenAi,
    Anthropic,
    Ollama,
}

/// One call that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::front) struct Call<'a> {
    pub(in crate::front) api: Api,
    pub(in crate::front) does: Does<'a>,
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::front) enum Does<'a> {
    /// Computes something from its body and changes nothing, so that it may be sent again while nothing of the answer was
    /// passed on. The model is named in the body.
    Infer,
    /// Lists the models.
    List,
    /// Lists those in memory.
    ListLoaded,
    /// Describes the model that the path names.
    Describe(&'a str),
}

/// Paths of OpenAI's API that compute, without `/v1`: llama.cpp and others serve them without it as well.
const OPENAI: [&str; 11] = [
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/responses",
    "/audio/speech",
    "/audio/transcriptions",
    "/audio/translations",
    "/images/generations",
    "/images/edits",
    "/rerank",
    "/moderations",
];

/// Paths of Ollama's API that compute, or tell something of the model in their body.
const OLLAMA: [&str; 5] = ["/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/show"];

impl<'a> Call<'a> {
    /// The call that a request is, if it is one of those.
    pub(in crate::front) fn of(method: &Method, path: &'a str) -> Option<Self> {
        let call = |api, does| Some(Self { api, does });
        if *method == Method::POST {
            return match path {
                "/v1/messages" | "/v1/messages/count_tokens" => call(Api::Anthropic, Does::Infer),
                _ if OLLAMA.contains(&path) => call(Api::Ollama, Does::Infer),
                _ if OPENAI.contains(&without_version(path)) => call(Api::OpenAi, Does::Infer),
                _ => None,
            };
        }
        if *method != Method::GET {
            return None;
        }
        match path {
            "/api/tags" => call(Api::Ollama, Does::List),
            "/api/ps" => call(Api::Ollama, Does::ListLoaded),
            "/v1/models" | "/models" => call(Api::OpenAi, Does::List),
            _ => match path.strip_prefix("/v1/models/") {
                Some(model) if !model.is_empty() => call(Api::OpenAi, Does::Describe(model)),
                _ => None,
            },
        }
    }
}

impl Does<'_> {
    /// The model that the path names.
    pub(in crate::front) fn described(self) -> Option<String> {
        match self {
            Self::Describe(segment) => Some(decoded(segment)),
            Self::Infer | Self::List | Self::ListLoaded => None,
        }
    }
}

impl Api {
    /// The API that a path belongs to, known call or not.
    pub(in crate::front) fn of(path: &str) -> Option<Self> {
        match path {
            _ if path.starts_with("/v1/messages") => Some(Self::Anthropic),
            "/api/tags" | "/api/ps" => Some(Self::Ollama),
            _ if OLLAMA.contains(&path) => Some(Self::Ollama),
            _ if path.starts_with("/v1/") || OPENAI.contains(&path) => Some(Self::OpenAi),
            _ => None,
        }
    }
}

fn without_version(path: &str) -> &str {
    path.strip_prefix("/v1").unwrap_or(path)
}

/// A path's segment without its percent signs; names have slashes and colons.
fn decoded(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.get(..2).filter(|_| byte == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infers(path: &str) -> Option<Api> {
        let call = Call::of(&Method::POST, path)?;
        assert_eq!(call.does, Does::Infer);
        Some(call.api)
    }

    #[test]
    fn what_computes_is_known_with_and_without_a_version() {
        for path in ["/v1/chat/completions", "/chat/completions", "/v1/embeddings", "/v1/audio/transcriptions"] {
            assert_eq!(infers(path), Some(Api::OpenAi), "{path}");
        }
        assert_eq!(infers("/v1/messages"), Some(Api::Anthropic));
        assert_eq!(infers("/api/chat"), Some(Api::Ollama));
        for path in
            ["/", "/v1", "/v1/files", "/v1/chat", "/api/pull", "/api/delete", "/v1/chat/completions/", "/v1/api/chat"]
        {
            assert_eq!(infers(path), None, "{path}");
        }
        assert_eq!(Call::of(&Method::PUT, "/v1/embeddings"), None);
    }

    #[test]
    fn what_lists_is_known() {
        let does = |path: &'static str| Call::of(&Method::GET, path).map(|call| call.does);
        assert_eq!(does("/v1/models"), Some(Does::List));
        assert_eq!(does("/api/ps"), Some(Does::ListLoaded));
        assert_eq!(does("/v1/models/Qwen/Qwen3"), Some(Does::Describe("Qwen/Qwen3")));
        assert_eq!(does("/v1/models/"), None);
        assert_eq!(does("/v1/chat/completions"), None);
    }
}
