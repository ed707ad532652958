//! What opens a tunnel: a header written and read, a verdict written and read.

use futures::FutureExt;
use p2p_fed::tunnel::{
    Class, Header, Load, MessageError, TraceId, Verdict, read_header, read_verdict, write_header, write_verdict,
};

use super::{Round, fleet::SERVICE};

pub(super) const TIMES: u32 = 1000;

pub(super) fn round() -> Round {
    let header = Header {
        service: SERVICE.into(),
        class: Class::Http,
        trace: TraceId([7; 16]),
        client: Some(([192, 0, 2, 7], 50_000).into()),
    };
    let verdict = Verdict::Accepted(Load { in_flight: 3, slots: 64, ..Load::default() });
    let mut bytes = Vec::with_capacity(1024);
    Box::new(move || {
        for _ in 0..TIMES {
            bytes.clear();
            at_once(write_header(&mut bytes, &header));
            assert_eq!(at_once(read_header(&mut bytes.as_slice())), header);
            bytes.clear();
            at_once(write_verdict(&mut bytes, &verdict));
            assert_eq!(at_once(read_verdict(&mut bytes.as_slice())), verdict);
        }
        Box::new((header, bytes))
    })
}

/// Bytes in memory keep nobody waiting.
fn at_once<T>(message: impl Future<Output = Result<T, MessageError>>) -> T {
    message.now_or_never().expect("memory is ready").expect("a valid message")
}
