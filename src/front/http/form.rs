//! How an answer of the front's own is written: as the client's API writes errors, so that its libraries understand them.

use hyper::{
    Request, StatusCode, Version,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
};
use serde_json::json;

use super::answer::Kind;
use crate::front::inference::Api;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    /// `{"error": {"message": …, "type": …, "param": …, "code": …}}`, what most clients of language models parse.
    OpenAi,
    /// `{"type": "error", "error": {"type": …, "message": …}}`.
    Anthropic,
    /// `{"error": …}`.
    Ollama,
    /// A response of nothing but its trailers, with the status that a gRPC client reads.
    Grpc,
}

impl Form {
    /// What the client of a request can read, as far as it shows.
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        if is_grpc(request) {
            return Self::Grpc;
        }
        let (uri, headers) = (request.uri(), request.headers());
        let mentions_json = |name| {
            let mut values = headers.get_all(name).iter().filter_map(|value: &HeaderValue| value.to_str().ok());
            values.any(|value| value.to_ascii_lowercase().contains("json"))
        };
        match Api::of(uri.path()) {
            Some(Api::OpenAi) if headers.contains_key("anthropic-version") => Self::Anthropic,
            Some(Api::OpenAi) => Self::OpenAi,
            Some(Api::Anthropic) => Self::Anthropic,
            Some(Api::Ollama) => Self::Ollama,
            None if mentions_json(ACCEPT) || mentions_json(CONTENT_TYPE) => Self::OpenAi,
            None => Self::Text,
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Grpc => "application/grpc",
            Self::OpenAi | Self::Anthropic | Self::Ollama => "application/json",
        }
    }

    pub(super) fn write(self, status: StatusCode, kind: Kind, message: String) -> String {
        let value = match self {
            Self::Text | Self::Grpc => return message + "\n",
            Self::OpenAi => {
                let code = match kind {
                    Kind::NoModel => kind.word().into(),
                    _ => json!(status.as_u16()),
                };
                let family = if kind == Kind::NoModel { "invalid_request_error" } else { kind.word() };
                let param = (kind == Kind::NoModel).then_some("model");
                json!({ "error": { "message": message, "type": family, "param": param, "code": code } })
            }
            Self::Anthropic => json!({ "type": "error", "error": { "type": anthropic(kind), "message": message } }),
            Self::Ollama => json!({ "error": message }),
        };
        value.to_string() + "\n"
    }
}

/// A call of gRPC, whose answers need trailers and so HTTP/2 on the whole way. (gRPC-Web does not.)
pub(super) fn is_grpc<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let rest = content_type.strip_prefix(b"application/grpc");
    request.version() == Version::HTTP_2
        && rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// Anthropic's word for it.
fn anthropic(kind: Kind) -> &'static str {
    match kind {
        Kind::BadRequest => "invalid_request_error",
        Kind::NoModel => "not_found_error",
        Kind::Busy => "rate_limit_error",
        Kind::NoWorker => "overloaded_error",
        Kind::BadGateway => "api_error",
        Kind::GatewayTimeout => "timeout_error",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn form(path: &str, field: Option<(&'static str, &'static str)>) -> Form {
        let request = Request::builder().uri(path);
        let request = field.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        Form::of(&request.body(()).unwrap())
    }

    #[test]
    fn a_call_of_grpc_is_told_by_version_and_content_type() {
        let is_grpc = |version, content_type: &str| {
            let request = Request::builder().version(version).header(CONTENT_TYPE, content_type);
            super::is_grpc(&request.body(()).unwrap())
        };
        for content_type in ["application/grpc", "application/grpc+proto", "application/grpc; charset=utf-8"] {
            assert!(is_grpc(Version::HTTP_2, content_type), "{content_type}");
            assert!(!is_grpc(Version::HTTP_11, content_type), "{content_type}");
        }
        assert!(!is_grpc(Version::HTTP_2, "application/grpc-web+proto"));
        assert!(!is_grpc(Version::HTTP_2, "application/json"));
    }

    #[test]
    fn a_client_gets_what_its_api_writes() {
        assert_eq!(form("/", None), Form::Text);
        assert_eq!(form("/", Some(("accept", "Application/JSON"))), Form::OpenAi);
        assert_eq!(form("/v1/unknown", None), Form::OpenAi);
        assert_eq!(form("/v1/models", Some(("anthropic-version", "2023-06-01"))), Form::Anthropic);
        assert_eq!(form("/v1/messages", None), Form::Anthropic);
        assert_eq!(form("/api/chat", None), Form::Ollama);
        assert_eq!(form("/api/orders", None), Form::Text, "not everything below /api is Ollama's");
    }

    #[test]
    fn each_shape_is_the_apis_own() {
        let write = |form: Form, kind| -> Value {
            serde_json::from_str(&form.write(StatusCode::NOT_FOUND, kind, "gone".to_owned())).unwrap()
        };
        let openai = write(Form::OpenAi, Kind::NoModel);
        assert_eq!((&openai["error"]["code"], &openai["error"]["param"]), (&json!("model_not_found"), &json!("model")));
        assert_eq!(openai["error"]["type"], "invalid_request_error");
        assert_eq!(write(Form::OpenAi, Kind::NoWorker)["error"]["code"], 404);
        let anthropic = write(Form::Anthropic, Kind::NoModel);
        assert_eq!((&anthropic["type"], &anthropic["error"]["type"]), (&json!("error"), &json!("not_found_error")));
        assert_eq!(write(Form::Ollama, Kind::Busy), json!({ "error": "gone" }));
        assert_eq!(Form::Text.write(StatusCode::NOT_FOUND, Kind::Busy, "gone".to_owned()), "gone\n");
    }
}
