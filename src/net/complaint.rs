//! Why a connection failed, in a few words for people.
//!
//! The libraries' errors nest a dozen deep and print as lists of lists; the innermost cause is what a user can act on.

use std::{error::Error, io};

use libp2p::{TransportError, swarm::DialError};

use super::admission;

/// The innermost cause, in lower case, on one line.
pub(super) fn of(error: &(dyn Error + 'static)) -> String {
    if let Some(dial) = error.downcast_ref::<DialError>() {
        return of_dial(dial);
    }
    let mut cause = error;
    loop {
        if let Some(admission) = cause.downcast_ref::<admission::Error>() {
            return admission.to_string();
        }
        match next(cause) {
            Some(inner) => cause = inner,
            None => break,
        }
    }
    one_line(&cause.to_string())
}

fn of_dial(error: &DialError) -> String {
    match error {
        DialError::Transport(attempts) => {
            let mut causes: Vec<String> = attempts
                .iter()
                .map(|(address, error)| match error {
                    TransportError::MultiaddrNotSupported(_) => {
                        format!("{address} is of no transport that is used here")
                    }
                    TransportError::Other(error) => of(error),
                })
                .collect();
            causes.sort();
            causes.dedup();
            causes.join("; ")
        }
        DialError::WrongPeerId { obtained, .. } => format!("another node answers there: {obtained}"),
        DialError::LocalPeerId { .. } => "that is this node itself".to_owned(),
        DialError::NoAddresses => "no address known".to_owned(),
        DialError::Denied { cause } => of(cause),
        other => one_line(&other.to_string()),
    }
}

/// Whether an `E` is among the causes.
pub(super) fn is_caused_by<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    error.is::<E>() || next(error).is_some_and(is_caused_by::<E>)
}

/// Whether admission said so, and not the network on the way to it.
pub(super) fn is_by_admission(error: &(dyn Error + 'static)) -> bool {
    is_caused_by::<admission::Error>(error)
}

/// `io::Error` hides what it wraps from `source`.
fn next<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    }
}

fn one_line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_cause_is_told_on_one_line() {
        let refused = io::Error::from_raw_os_error(111);
        let nested = io::Error::other(io::Error::other(refused));
        assert_eq!(of(&nested), "connection refused");
        let admission = io::Error::other(admission::Error::WrongToken);
        assert_eq!(of(&admission), "the peer does not hold this network's token");
    }

    #[test]
    fn several_addresses_that_fail_alike_are_told_once() {
        let attempt = |port: u16| {
            let address = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
            (address, TransportError::Other(io::Error::from_raw_os_error(111)))
        };
        assert_eq!(of(&DialError::Transport(vec![attempt(1), attempt(2)])), "connection refused");
    }
}
