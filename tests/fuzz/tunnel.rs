//! What begins a tunnel: the front's header and the worker's verdict.

use futures::FutureExt;
use p2p_fed::tunnel::{read_header, read_verdict, write_header, write_verdict};

/// What is read is written the same, but for fields that later versions add, and nothing behind it is touched.
macro_rules! check {
    ($name:ident, $read:ident, $write:ident) => {
        pub(crate) fn $name(bytes: &[u8]) {
            let mut rest = bytes;
            let Ok(read) = $read(&mut rest).now_or_never().expect("all bytes are there") else { return };
            let taken = bytes.len() - rest.len();
            let mut written = Vec::new();
            $write(&mut written, &read).now_or_never().expect("there is room").expect("what is read can be written");
            assert!(written.len() <= taken, "what is read says no more than what was written");
            assert_eq!(written[3..], bytes[3..written.len()], "one encoding");
            assert_eq!(read, $read(&mut &written[..]).now_or_never().expect("all there").expect("can be read"));
        }
    };
}

check!(header, read_header, write_header);
check!(verdict, read_verdict, write_verdict);
