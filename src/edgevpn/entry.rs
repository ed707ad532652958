//! One entry of edgevpn's ledger, and its two forms in JSON.
//!
//! * *Legacy*: a string that is JSON itself.
//! * *Signed* (edgevpn ≥ 0.35, unless ownership is off): an object with that string, its owner and the owner's signature.
//!
//! Readers go by the first character. One of ≤ 0.34 refuses a whole block for a single signed entry.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A value, and who has signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// JSON; empty where the entry is deleted.
    pub(super) value: String,
    /// None in the legacy form.
    pub(super) seal: Option<Seal>,
}

/// Who has written an entry, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seal {
    /// A peer id in base58.
    pub(super) owner: String,
    /// Grows with each change.
    pub(super) version: u64,
    /// Unix seconds.
    pub(super) updated_at: i64,
    /// The entry is gone, and stays as long as somebody might bring it back.
    pub(super) deleted: bool,
    /// Ed25519, over all of that.
    pub(super) signature: Vec<u8>,
}

impl Entry {
    /// An entry as nodes of ≤ 0.34 write it.
    pub(super) fn legacy(value: String) -> Self {
        Self { value, seal: None }
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.seal.as_ref().is_some_and(|seal| seal.deleted)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Signed {
    #[serde(default)]
    value: String,
    #[serde(default)]
    owner: String,
    #[serde(default)]
    version: u64,
    #[serde(default)]
    updated_at: i64,
    #[serde(default)]
    deleted: bool,
    /// Standard Base64; Go writes `null` for none.
    #[serde(default)]
    sig: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Legacy(String),
    Signed(Signed),
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(seal) = &self.seal else { return serializer.serialize_str(&self.value) };
        let signed = Signed {
            value: self.value.clone(),
            owner: seal.owner.clone(),
            version: seal.version,
            updated_at: seal.updated_at,
            deleted: seal.deleted,
            sig: (!seal.signature.is_empty()).then(|| STANDARD.encode(&seal.signature)),
        };
        signed.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let signed = match Form::deserialize(deserializer)? {
            Form::Legacy(value) => return Ok(Self::legacy(value)),
            Form::Signed(signed) => signed,
        };
        let signature = STANDARD.decode(signed.sig.unwrap_or_default()).map_err(D::Error::custom)?;
        let seal = Seal {
            owner: signed.owner,
            version: signed.version,
            updated_at: signed.updated_at,
            deleted: signed.deleted,
            signature,
        };
        // One that nobody has signed is the legacy form, as Go writes it.
        let is_legacy = seal.owner.is_empty() && seal.signature.is_empty() && !seal.deleted && seal.version == 0;
        Ok(Self { value: signed.value, seal: (!is_legacy).then_some(seal) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_written() {
        let legacy = r#""{\"PeerID\":\"12D3\",\"Name\":\"x\"}""#;
        let entry: Entry = serde_json::from_str(legacy).unwrap();
        assert_eq!(entry, Entry::legacy(r#"{"PeerID":"12D3","Name":"x"}"#.into()));
        assert_eq!(serde_json::to_string(&entry).unwrap(), legacy);
        let signed = r#"{"Value":"\"ok\"","Owner":"12D3","Version":18446744073709551615,"UpdatedAt":-1,"Deleted":false,"Sig":"AQI="}"#;
        let entry: Entry = serde_json::from_str(signed).unwrap();
        assert_eq!(entry.seal.as_ref().unwrap().signature, [1, 2]);
        assert_eq!(serde_json::to_string(&entry).unwrap(), signed);
    }

    #[test]
    fn an_entry_that_has_lost_its_signature_is_written_as_go_writes_it() {
        let text = r#"{"Value":"1","Owner":"12D3","Version":1,"UpdatedAt":1,"Deleted":false,"Sig":null}"#;
        let entry: Entry = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&entry).unwrap(), text);
    }

    #[test]
    fn an_object_that_nobody_signed_is_the_legacy_form() {
        let entry: Entry =
            serde_json::from_str(r#"{"Value":"1","Owner":"","Version":0,"UpdatedAt":0,"Sig":null}"#).unwrap();
        assert_eq!(entry, Entry::legacy("1".into()));
        assert!(serde_json::from_str::<Entry>("7").is_err());
        assert!(serde_json::from_str::<Entry>(r#"{"Sig":"?"}"#).is_err());
    }
}
