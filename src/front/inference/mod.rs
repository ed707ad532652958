//! Requests to model servers: what they ask for, and what they cost.
//!
//! A **call** is told by its path ([`Call`]). Of one that computes, the body is looked at as far as [`LOOK`] reaches, frame by
//! frame ([`Scanner`], [`Form`]): the **model** says who may get it, and hashes of the prompt's beginnings who may have computed most of
//! it already. It is sent on as it came. A call that lists models is answered from what the workers announced
//! ([`Listing`]). Of the answer to a call that computes the tokens are counted as they pass ([`Tokens`]).
//!
//! **Absent on purpose.** Nothing is translated from one API to another, nothing is added to a request, and no text is kept.

mod call;
mod form;
mod listing;
mod prefix;
mod scanner;
mod tokens;

pub(super) use call::{Api, Call, Does};
pub(super) use form::Form;
pub(super) use listing::Listing;
pub(super) use scanner::Scanner;
pub(super) use tokens::Tokens;

/// Bytes of a body that are looked at before a worker is picked. A long conversation fits in; of a longer one the
/// beginning is what matters, and clients write the model first.
pub(super) const LOOK: usize = 256 * 1024;
