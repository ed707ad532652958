//! What a request to a model server tells of itself before it is sent.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    HeaderMap, Response,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue},
};

use super::{Body, forward::Forward};
use crate::front::{
    handle::Shared,
    inference::{Call, Does, Form, LOOK, Listing, Scanner},
};

/// What looking into a request came to.
pub(super) enum Inspected {
    /// It is sent to a worker; of the model that it names, if it names one.
    Sent(Option<Arc<str>>),
    /// It is answered without one.
    Answered(Box<Response<Body>>),
}

impl Forward {
    /// Asks for what the request needs, if it is a call that is known and looking into it is not switched off. Its body is
    /// read as far as that takes.
    pub(super) async fn inspect(&mut self, shared: &Shared) -> Inspected {
        let call = Call::of(&self.method, self.target.path()).filter(|_| shared.config.inspect);
        let Some(Call { api, does }) = call else { return Inspected::Sent(None) };
        let listing = || shared.balancer.models(shared.now()).into_iter().collect::<Listing>();
        match does {
            Does::Infer if is_plain(&self.headers) => {
                let found = match Form::of(&self.headers) {
                    Some(mut form) => {
                        self.source.look(LOOK, |frame| form.feed(frame)).await;
                        form.model()
                    }
                    None => {
                        let mut scanner = Scanner::default();
                        self.source.look(LOOK, |frame| scanner.feed(frame)).await;
                        self.ask.prefixes = scanner.prefixes();
                        scanner.model()
                    }
                };
                let model = found.map(|model| listing().name_of(&model).map_or(model, Arc::from));
                self.ask.model.clone_from(&model);
                Inspected::Sent(model)
            }
            Does::Infer => Inspected::Sent(None),
            Does::Describe(_) | Does::List | Does::ListLoaded => {
                let listing = listing();
                if listing.is_empty() {
                    return Inspected::Sent(None);
                }
                if let Some(text) = listing.answer(&shared.config.service, api, does) {
                    return Inspected::Answered(Box::new(json(text)));
                }
                // Those of whom nobody knows what they have may know it.
                let model = does.described().map(Arc::from);
                self.ask.model.clone_from(&model);
                Inspected::Sent(model)
            }
        }
    }
}

/// Its bytes are what they say, not compressed.
pub(super) fn is_plain(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_ENCODING).is_none_or(|coding| coding == "identity")
}

fn json(text: String) -> Response<Body> {
    let mut response = Response::new(Either::Right(Full::new(Bytes::from(text))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
