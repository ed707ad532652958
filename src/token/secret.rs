//! Bytes that must not be shown, kept or compared carelessly.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A secret text of the token: wiped when dropped, `***` in `Debug`, no `Display`, compared in constant time (its length
/// is not hidden).
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct Secret(String);

impl Secret {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for whoever derives something from it.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl ConstantTimeEq for Secret {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.as_bytes().ct_eq(other.0.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Defines a 32-byte key type with the manners of [`Secret`].
macro_rules! secret_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The key itself.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl subtle::ConstantTimeEq for $name {
            fn ct_eq(&self, other: &Self) -> subtle::Choice {
                self.0.ct_eq(&other.0)
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                bool::from(subtle::ConstantTimeEq::ct_eq(self, other))
            }
        }

        impl Eq for $name {}

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("***")
            }
        }
    };
}

pub(super) use secret_key;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_nothing() {
        assert_eq!(format!("{:?} {:#?}", Secret::new("hush".into()), Secret::new("hush".into())), "*** ***");
    }

    #[test]
    fn compares_by_content() {
        let equal = |a: &str, b: &str| bool::from(Secret::new(a.into()).ct_eq(&Secret::new(b.into())));
        assert!(equal("same", "same"));
        assert!(!equal("same", "sama"));
        assert!(!equal("same", "same!"));
    }
}
