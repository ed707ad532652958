//! Later generations of a token.

use rand::{TryRng, rngs::SysRng};

use super::{Error, FIRST_GENERATION, Native, Token, secret::secret_key};

secret_key! {
    /// What a token of a later generation has and those before it have not. It goes into the admission key alone.
    GenerationSecret
}

impl GenerationSecret {
    /// A new one from the operating system's generator.
    ///
    /// # Errors
    /// [`Error::NoRandomness`] if that generator fails.
    pub fn draw() -> Result<Self, Error> {
        let mut secret = Self([0; 32]);
        SysRng.try_fill_bytes(&mut secret.0).map_err(|error| Error::NoRandomness(error.to_string()))?;
        Ok(secret)
    }

    /// The one that has these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl Token {
    /// The secret of its generation. The first has none.
    pub fn generation_secret(&self) -> Option<&GenerationSecret> {
        self.native.as_ref()?.secret.as_ref()
    }

    /// The same network's token of a later generation, with the same invitation.
    ///
    /// # Errors
    /// [`Error::NoIssuer`] in an open network, whose token has no other generation, and [`Error::Invalid`] for the first.
    pub fn with_generation(&self, generation: u32, secret: GenerationSecret) -> Result<Self, Error> {
        let native = self.native.as_ref().filter(|native| native.issuer.is_some()).ok_or(Error::NoIssuer)?;
        if generation <= FIRST_GENERATION {
            return Err(Error::Invalid { key: "p2pfed.generation", expected: "above 1 where there is a secret" });
        }
        let native = Native { generation, secret: Some(secret), ..native.clone() };
        Ok(Self { native: Some(native), ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Mint, parse::tests::issued};

    #[test]
    fn a_later_generation_reads_back_and_is_the_same_network() {
        let first = issued();
        let later = first.with_generation(7, GenerationSecret::draw().unwrap()).unwrap();
        assert_eq!(Token::parse(&later.to_text()).unwrap(), later);
        assert_eq!((later.generation(), later.network_id()), (7, first.network_id()));
        assert_ne!(later, first);
        assert_ne!(later, first.with_generation(7, GenerationSecret::draw().unwrap()).unwrap());
    }

    #[test]
    fn there_are_none_where_nobody_could_tell_them() {
        let secret = || GenerationSecret::from_bytes([7; 32]);
        let open = Token::mint(&Mint::default()).unwrap();
        assert_eq!(open.with_generation(2, secret()), Err(Error::NoIssuer));
        assert!(matches!(issued().with_generation(1, secret()), Err(Error::Invalid { key: "p2pfed.generation", .. })));
    }
}
