//! Why a text is not a token.

use super::parse::MAX_TEXT;

/// Why a text is not a usable token, or why none could be minted. One line each, without a byte of the secret.
///
/// The same text fails again: only another text helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no text.
    #[error("the token is empty: pass the line that `p2p-fed token` printed")]
    Empty,
    /// More text than any token has.
    #[error("the token has {0} bytes, more than {MAX_TEXT}: this is some other file")]
    TooLong(usize),
    /// A byte that Base64 does not have.
    #[error("the token is not standard base64 at byte {at}: copy the whole line that `p2p-fed token` printed")]
    NotBase64 {
        /// Where, counted from 0, white space left out.
        at: usize,
    },
    /// The end is missing.
    #[error("the token is cut off: copy the whole line that `p2p-fed token` printed")]
    CutOff,
    /// What the Base64 holds is no token.
    #[error("the token's base64 does not hold the YAML of a network: copy the whole line that `p2p-fed token` printed")]
    NotYaml,
    /// A part that every token has is not there.
    #[error("the token has no `{0}`: it is cut off or was edited; copy it again or mint another with `p2p-fed token`")]
    Missing(&'static str),
    /// A part has a value it can't have.
    #[error(
        "the token's `{key}` must be {expected}: it was edited; copy it again or mint another with `p2p-fed token`"
    )]
    Invalid {
        /// Which part.
        key: &'static str,
        /// What it may be.
        expected: &'static str,
    },
    /// Something in it is not what was minted.
    #[error("the token is damaged: a character changed on the way; copy the whole line that `p2p-fed token` printed")]
    Damaged,
    /// Our section has a later version than this program knows.
    #[error("the token was made by a newer p2p-fed (format {0}, this one knows 1): upgrade p2p-fed on this machine")]
    Newer(u64),
    /// Our section says something this program does not know.
    #[error(
        "the token's `p2pfed` section has a part unknown here: it was made by a newer p2p-fed, or edited; upgrade or copy it again"
    )]
    Unknown,
    /// There are no roles to give: nobody has a say.
    #[error(
        "the network has no issuer, so every holder of its token may do everything: hand out the token itself, or make a network with one by `p2p-fed token --admin`"
    )]
    NoIssuer,
    /// The invitation is not what was printed.
    #[error("the token's invitation is damaged: copy the whole line that `p2p-fed token invite` printed")]
    InvitationDamaged,
    /// The invitation was made for another network.
    #[error(
        "the token's invitation is for another network: ask the keeper of this network's issuer key for one (`p2p-fed token invite`)"
    )]
    InvitationElsewhere,
    /// Somebody else than the issuer made the invitation.
    #[error(
        "the token's invitation is not signed by the network's issuer: ask the keeper of the issuer's key for one (`p2p-fed token invite`)"
    )]
    InvitationForged,
    /// The invitation is not good any more.
    #[error(
        "the token's invitation expired at {0}: ask the keeper of the network's issuer key for another (`p2p-fed token invite`)"
    )]
    InvitationExpired(String),
    /// The operating system has no randomness to give. Another try may succeed.
    #[error("no token minted: the operating system gave no randomness ({0})")]
    NoRandomness(String),
}
