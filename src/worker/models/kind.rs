//! Which model server it is, and what it serves.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;

use super::{Catalogue, Reply, json, list::announce, question};
use crate::worker::Target;

/// A kind of model server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// llama.cpp's `llama-server`, with one model or as a router of several.
    LlamaCpp,
    /// vLLM.
    Vllm,
    /// SGLang.
    Sglang,
    /// Ollama.
    Ollama,
    /// LocalAI.
    LocalAi,
    /// Anything else that lists its models as OpenAI does.
    OpenAi,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LlamaCpp => "llama.cpp",
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::Ollama => "ollama",
            Self::LocalAi => "localai",
            Self::OpenAi => "openai",
        })
    }
}

/// What a backend was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    /// A model server.
    Is(Kind),
    /// It says that it can't answer yet, or nobody listens.
    NotReady,
    /// It does not answer in time, or not as HTTP has it.
    Silent,
    /// Something else, or one that does not say.
    Other,
}

/// Where all of them but old Ollamas list their models.
const MODELS: &str = "/v1/models";

/// `GET /v1/models`.
#[derive(Debug, Deserialize)]
struct Listed {
    /// Ollama without a model says `null`.
    data: Option<Vec<Entry>>,
    /// `list`. What lists other things has no such field, or no `data`.
    #[serde(rename = "object")]
    _object: String,
}

#[derive(Debug, Deserialize)]
struct Entry {
    id: String,
    #[serde(default)]
    owned_by: Option<String>,
    /// Other names of it, of llama.cpp.
    #[serde(default)]
    aliases: Option<Vec<String>>,
    /// Of llama.cpp as a router.
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Debug, Deserialize)]
struct Status {
    #[serde(default)]
    value: String,
}

/// `GET /api/tags` and `GET /api/ps` of Ollama.
#[derive(Debug, Deserialize)]
struct Tags {
    models: Option<Vec<Tag>>,
}

#[derive(Debug, Deserialize)]
struct Tag {
    name: String,
}

/// `GET /system` of LocalAI.
#[derive(Debug, Deserialize)]
struct System {
    loaded_models: Option<Vec<Loaded>>,
}

#[derive(Debug, Deserialize)]
struct Loaded {
    id: String,
}

/// `GET /props` of llama.cpp.
#[derive(Debug, Deserialize)]
struct Props {
    #[serde(default)]
    total_slots: Option<u32>,
}

/// What the backend is.
pub(super) async fn detect(target: &Target) -> Nature {
    let listed: Listed = match question(target, MODELS).await {
        Reply::Body(body) => match serde_json::from_slice(&body) {
            Ok(listed) => listed,
            Err(_) => return Nature::Other,
        },
        // An old Ollama does not know the path. Whoever asks for a key gets no further question.
        Reply::Status(404) if is_ollama(target).await => return Nature::Is(Kind::Ollama),
        // So says llama.cpp while it loads its model.
        Reply::Status(503) | Reply::Away => return Nature::NotReady,
        Reply::Silent => return Nature::Silent,
        Reply::Status(_) => return Nature::Other,
    };
    let listed = listed.data.unwrap_or_default();
    let is_owned_by = |owner| listed.iter().any(|entry| entry.owned_by.as_deref() == Some(owner));
    Nature::Is(match () {
        () if is_owned_by("llamacpp") => Kind::LlamaCpp,
        () if is_owned_by("vllm") => Kind::Vllm,
        () if is_owned_by("sglang") => Kind::Sglang,
        () if is_ollama(target).await => Kind::Ollama,
        () if json::<System>(target, "/system").await.is_some_and(|system| system.loaded_models.is_some()) => {
            Kind::LocalAi
        }
        () => Kind::OpenAi,
    })
}

async fn is_ollama(target: &Target) -> bool {
    json::<Tags>(target, "/api/tags").await.is_some_and(|tags| tags.models.is_some())
}

/// What a backend of that kind serves now; none if it does not say so any more.
pub(super) async fn survey(target: &Target, kind: Kind) -> Option<Catalogue> {
    let mut slots = 0;
    let models = match kind {
        Kind::Ollama => {
            let names = json::<Tags>(target, "/api/tags").await?.models?;
            let mut models: BTreeMap<_, _> = names.into_iter().map(|tag| (tag.name, false)).collect();
            let loaded = json::<Tags>(target, "/api/ps").await.and_then(|tags| tags.models).unwrap_or_default();
            models.extend(loaded.into_iter().map(|tag| (tag.name, true)));
            models
        }
        Kind::LocalAi => {
            let mut models: BTreeMap<_, _> = list(target).await?.into_iter().map(|entry| (entry.id, false)).collect();
            let loaded = json::<System>(target, "/system").await.and_then(|system| system.loaded_models);
            for Loaded { id } in loaded.unwrap_or_default() {
                // A file that is no model of its own is no name for requests.
                models.entry(id).and_modify(|is_loaded| *is_loaded = true);
            }
            models
        }
        Kind::LlamaCpp => {
            slots = json::<Props>(target, "/props").await.and_then(|props| props.total_slots).unwrap_or(0);
            let named = list(target).await?.into_iter().flat_map(|Entry { id, aliases, status, .. }| {
                let is_loaded = status.is_none_or(|status| status.value == "loaded");
                aliases.unwrap_or_default().into_iter().chain([id]).map(move |name| (name, is_loaded))
            });
            named.collect()
        }
        // They load what they serve when they start.
        Kind::Vllm | Kind::Sglang => list(target).await?.into_iter().map(|entry| (entry.id, true)).collect(),
        Kind::OpenAi => list(target).await?.into_iter().map(|entry| (entry.id, false)).collect(),
    };
    Some(Catalogue { kind: Some(kind), models: announce(models), slots })
}

async fn list(target: &Target) -> Option<Vec<Entry>> {
    Some(json::<Listed>(target, MODELS).await?.data.unwrap_or_default())
}
