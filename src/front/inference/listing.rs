//! The models of all workers, in the shapes in which the APIs list them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Api, Does};
use crate::ledger::Model;

/// When every model was made, in lists whose clients want to know. Nobody knows; a date long ago offends nobody.
const LONG_AGO: &str = "1970-01-01T00:00:00Z";

/// What the workers of a service said they have: names, and whether some worker has it in memory.
#[derive(Debug, Default)]
pub(in crate::front) struct Listing(BTreeMap<String, bool>);

impl FromIterator<Model> for Listing {
    fn from_iter<I: IntoIterator<Item = Model>>(models: I) -> Self {
        let mut listing = BTreeMap::new();
        for model in models.into_iter().filter(|model| model.name != Model::OTHERS) {
            *listing.entry(model.name).or_default() |= model.loaded;
        }
        Self(listing)
    }
}

impl Listing {
    pub(in crate::front) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name by which workers know `model`: Ollama's tag `latest` may be left out.
    pub(in crate::front) fn name_of(&self, model: &str) -> Option<String> {
        let tagged = || format!("{model}:latest");
        let known = |name: &String| self.0.contains_key(name);
        Some(model.to_owned()).filter(known).or_else(|| Some(tagged()).filter(known))
    }

    /// The answer to a call; `None` for what lists nothing, and for a model that nobody has.
    pub(in crate::front) fn answer(&self, service: &str, api: Api, does: Does<'_>) -> Option<String> {
        let value = match (api, does) {
            (_, Does::Infer) => return None,
            (_, Does::Describe(_)) => openai(&self.name_of(&does.described()?)?, service),
            (Api::Ollama, Does::List) => {
                let models: Vec<Value> = self.0.keys().map(|name| ollama(name)).collect();
                json!({ "models": models })
            }
            (Api::Ollama, Does::ListLoaded) => {
                let loaded = self.0.iter().filter(|(_, loaded)| **loaded);
                let models: Vec<Value> = loaded.map(|(name, _)| loaded_ollama(name)).collect();
                json!({ "models": models })
            }
            (_, Does::List | Does::ListLoaded) => {
                let data: Vec<Value> = self.0.keys().map(|name| openai(name, service)).collect();
                // Beside OpenAI's fields those that Anthropic's clients look for.
                json!({
                    "object": "list",
                    "data": data,
                    "has_more": false,
                    "first_id": self.0.keys().next(),
                    "last_id": self.0.keys().next_back(),
                })
            }
        };
        Some(value.to_string())
    }
}

fn openai(name: &str, service: &str) -> Value {
    json!({
        "id": name, "object": "model", "created": 0, "owned_by": service,
        "type": "model", "display_name": name, "created_at": LONG_AGO,
    })
}

fn ollama(name: &str) -> Value {
    json!({
        "name": name, "model": name, "modified_at": LONG_AGO, "size": 0, "digest": "",
        "details": { "parent_model": "", "format": "", "family": "", "families": [], "parameter_size": "", "quantization_level": "" },
    })
}

fn loaded_ollama(name: &str) -> Value {
    let mut model = ollama(name);
    if let Value::Object(fields) = &mut model {
        fields.remove("modified_at");
        fields.insert("size_vram".to_owned(), 0.into());
        // A client that waits for it to pass would not wait; nobody else reads it.
        fields.insert("expires_at".to_owned(), LONG_AGO.into());
    }
    model
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> Listing {
        let model = |name: &str, loaded| Model { name: name.into(), loaded };
        let models = [model("b:latest", false), model("a/x", true), model("b:latest", true), model("c", false)];
        models.into_iter().chain([model(Model::OTHERS, true)]).collect()
    }

    fn answer(api: Api, does: Does<'_>) -> Option<Value> {
        listing().answer("llm", api, does).map(|text| serde_json::from_str(&text).unwrap())
    }

    fn names(list: &Value, key: &str) -> Vec<String> {
        list.as_array().unwrap().iter().map(|model| model[key].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn each_api_gets_each_model_once() {
        let openai = answer(Api::OpenAi, Does::List).unwrap();
        assert_eq!(openai["object"], "list");
        assert_eq!(names(&openai["data"], "id"), ["a/x", "b:latest", "c"]);
        let ollama = answer(Api::Ollama, Does::List).unwrap();
        assert_eq!(names(&ollama["models"], "name"), ["a/x", "b:latest", "c"]);
        assert_eq!(names(&answer(Api::Ollama, Does::ListLoaded).unwrap()["models"], "model"), ["a/x", "b:latest"]);
    }

    #[test]
    fn one_is_described_by_its_name() {
        for path in ["a/x", "a%2Fx", "a%2fx"] {
            assert_eq!(answer(Api::OpenAi, Does::Describe(path)).unwrap()["id"], "a/x", "{path}");
        }
        assert_eq!(answer(Api::OpenAi, Does::Describe("b")).unwrap()["id"], "b:latest");
        for path in ["d", "*", "%", "%zz", "a"] {
            assert_eq!(answer(Api::OpenAi, Does::Describe(path)), None, "{path}");
        }
    }
}
