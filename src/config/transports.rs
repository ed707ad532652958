//! What is said of transports.

use std::path::PathBuf;

use libp2p::{Multiaddr, multiaddr::Protocol};
use serde::Deserialize;

use super::Error;
use crate::{
    certificate::Certificate,
    net::{Transport, Transports, WebSocket},
};

/// How WebSocket is secured. [`WebSocket`] says more about each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "keys with values")]
pub struct WebSocketSettings {
    /// A PEM file with the certificate that listeners on `/tls/ws` show, and those between it and its root. Default none.
    #[serde(default)]
    pub cert: Option<PathBuf>,
    /// A PEM file with its key.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// A PEM file of authorities that are trusted when dialling `/tls/ws`, beside the web's usual ones. Default none.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

impl WebSocketSettings {
    /// These, and where they say nothing, `under`.
    #[must_use]
    pub fn over(self, under: Self) -> Self {
        Self { cert: self.cert.or(under.cert), key: self.key.or(under.key), ca: self.ca.or(under.ca) }
    }

    /// With its files looked into.
    pub(super) fn resolve(self) -> Result<WebSocket, Error> {
        let certificate = match (self.cert, self.key) {
            (None, None) => None,
            (Some(chain), Some(key)) => Some(Certificate { chain, key }),
            _ => return Err(Error::HalfCertificate),
        };
        let websocket = WebSocket { certificate, authorities: self.ca };
        websocket.check().map_err(Error::WebSocket)?;
        Ok(websocket)
    }
}

/// Those that were named, or the usual ones.
pub(super) fn transports(named: Option<Vec<Transport>>) -> Result<Transports, Error> {
    match named {
        Some(named) if named.is_empty() => Err(Error::NoTransport),
        Some(named) => Ok(named.into_iter().collect()),
        None => Ok(Transports::default()),
    }
}

/// The addresses of list `key`, none of which is of a transport that is switched off.
pub(super) fn used(key: &'static str, given: Vec<Multiaddr>, used: &Transports) -> Result<Vec<Multiaddr>, Error> {
    match given.iter().find(|address| !used.has(Transport::of(address))) {
        Some(address) => {
            Err(Error::TransportOff { key, address: address.to_string(), transport: Transport::of(address) })
        }
        None => Ok(given),
    }
}

/// The addresses to listen on, each of which has a certificate that needs one.
pub(super) fn secured(listens: Vec<Multiaddr>, websocket: &WebSocket) -> Result<Vec<Multiaddr>, Error> {
    let is_open = |address: &&Multiaddr| {
        address.iter().any(|part| matches!(part, Protocol::Tls | Protocol::Wss(_))) && !websocket.has_certificate()
    };
    match listens.iter().find(is_open) {
        Some(address) => Err(Error::NoCertificate(address.to_string())),
        None => Ok(listens),
    }
}
