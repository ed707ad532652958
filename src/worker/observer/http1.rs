//! Requests and responses of HTTP/1, one after another (RFC 9112).

use std::collections::VecDeque;

use super::{
    Lost,
    message::{Body, Event, Head, Messages},
};
use crate::{tunnel::Load, worker::tally::Account};

/// Requests sent ahead of their responses at most. Our fronts send none; nobody sends that many.
const PIPELINE_MAX: usize = 128;

/// Follows one tunnel.
#[derive(Debug)]
pub(super) struct Http1 {
    requests: Messages,
    responses: Messages,
    /// Requests whose responses have not ended, oldest first.
    asked: VecDeque<Ask>,
    /// No request has come yet.
    is_unused: bool,
}

/// What a response depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ask {
    Head,
    Connect,
    Other,
}

impl Http1 {
    pub(super) fn new() -> Self {
        Self { requests: Messages::default(), responses: Messages::default(), asked: VecDeque::new(), is_unused: true }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.is_unused
    }

    /// Bytes to the backend.
    pub(super) fn down(&mut self, mut bytes: &[u8], account: &mut Account) -> Result<(), Lost> {
        while let Some(event) = self.requests.next(&mut bytes) {
            match event {
                Event::Head(head) => {
                    self.asked.push_back(Ask::of(&head));
                    let body = head.request_body().filter(|_| self.asked.len() <= PIPELINE_MAX);
                    self.requests.goes_on(body.ok_or(Lost)?);
                    // The first one was counted when the tunnel was accepted.
                    if !std::mem::take(&mut self.is_unused) {
                        account.begin();
                    }
                }
                Event::End => {}
                Event::Lost => return Err(Lost),
            }
        }
        self.settle(account);
        Ok(())
    }

    /// Bytes from the backend. A report if a response ended.
    pub(super) fn up(&mut self, mut bytes: &[u8], account: &mut Account) -> Result<Option<Load>, Lost> {
        account.brought(bytes.len());
        let mut told = None;
        while let Some(event) = self.responses.next(&mut bytes) {
            let has_ended = match event {
                Event::Head(head) => match self.body(&head)? {
                    Some(body) => self.responses.goes_on(body),
                    // An interim response: the one that is asked for comes next.
                    None => {
                        self.responses.goes_on(Body::Length(0));
                        false
                    }
                },
                Event::End => true,
                Event::Lost => return Err(Lost),
            };
            // A response that nobody asked for is a farewell of the backend's (408), and ends nothing.
            if has_ended && self.asked.pop_front().is_some() {
                self.settle(account);
                told = Some(account.end());
            }
        }
        self.settle(account);
        Ok(told)
    }

    /// What follows the head of a response (RFC 9112 §6.3); nothing of its own after an interim one.
    fn body(&self, head: &Head) -> Result<Option<Body>, Lost> {
        let ask = self.asked.front().copied().unwrap_or(Ask::Other);
        match (head.status().ok_or(Lost)?, ask) {
            // From here on it is another protocol.
            (101, _) | (200..300, Ask::Connect) => Err(Lost),
            (100..200, _) => Ok(None),
            (204 | 304, _) | (_, Ask::Head) => Ok(Some(Body::Length(0))),
            _ => Ok(Some(head.response_body())),
        }
    }

    /// The backend is at work on the oldest request once that is complete.
    fn settle(&self, account: &mut Account) {
        let is_complete = self.asked.len() > 1 || self.requests.is_between();
        account.works(u32::from(is_complete && !self.asked.is_empty()));
    }
}

impl Ask {
    fn of(head: &Head) -> Self {
        match head.method() {
            b"HEAD" => Self::Head,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }
}
