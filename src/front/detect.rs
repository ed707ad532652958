//! What a client speaks, by its first bytes.
//!
//! HTTP/1 begins with a method that we know, a space, and the first byte of a request target; HTTP/2 with a preface of 24
//! bytes (RFC 9113 §3.4). Whatever can't become one of them any more is opaque: TLS, SSH, a database. It is one byte that
//! usually decides, and never more than twelve, or the preface's 24. Nothing that was read is lost: the caller replays it.
//!
//! A client may also say nothing, because its server speaks first (SMTP, MySQL). It is opaque after a silence that the
//! caller chooses. A client that stops in the middle of what may become a method gets longer, since that is a person at a
//! keyboard or a bad network, but not for ever.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};

/// Methods of HTTP as registered with IANA that clients use, and PURGE. Another one is sent under `--mode http`.
const METHODS: [&str; 28] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "QUERY",
    "PURGE",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "SEARCH",
    "REPORT",
    "ACL",
    "BIND",
    "UNBIND",
    "REBIND",
    "LINK",
    "UNLINK",
    "MKCALENDAR",
    "CHECKOUT",
];

/// What HTTP/2 begins with. No HTTP/1 server takes it for a request.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes read ahead at most; usually the client's first segment.
const AHEAD: usize = 1024;

/// How long the rest of a method may take.
const REST: Duration = Duration::from_secs(3);

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    Http1,
    Http2,
    Opaque,
}

/// Reads until it is clear what the client speaks. `silence` is how long it may say nothing at all.
pub(super) async fn detect(client: &mut (impl AsyncRead + Unpin), silence: Duration) -> io::Result<(Speech, Bytes)> {
    read_ahead(client, silence, judge).await
}

/// Reads until it is clear which HTTP the client speaks: what is not HTTP/2 is for HTTP/1 to judge.
pub(super) async fn detect_http(
    client: &mut (impl AsyncRead + Unpin),
    silence: Duration,
) -> io::Result<(Speech, Bytes)> {
    let (speech, ahead) =
        read_ahead(client, silence, |ahead| judge_preface(ahead).unwrap_or(Some(Speech::Http1))).await?;
    Ok((if speech == Speech::Opaque { Speech::Http1 } else { speech }, ahead))
}

async fn read_ahead(
    client: &mut (impl AsyncRead + Unpin),
    silence: Duration,
    judge: impl Fn(&[u8]) -> Option<Speech>,
) -> io::Result<(Speech, Bytes)> {
    let mut ahead = BytesMut::with_capacity(AHEAD);
    loop {
        let patience = if ahead.is_empty() { silence } else { REST };
        let mut room = (&mut *client).take((AHEAD - ahead.len()) as u64);
        let speech = match timeout(patience, room.read_buf(&mut ahead)).await {
            // It ends its side without a word or within one: an opaque client may do so and still want an answer.
            Ok(Ok(0)) => Some(Speech::Opaque),
            Ok(Ok(_)) => judge(&ahead),
            Ok(Err(error)) => return Err(error),
            Err(_) => Some(Speech::Opaque),
        };
        if let Some(speech) = speech {
            return Ok((speech, ahead.freeze()));
        }
    }
}

/// The outer is `None` for what can't become the preface of HTTP/2, the inner while it could still be something else.
fn judge_preface(ahead: &[u8]) -> Option<Option<Speech>> {
    let length = ahead.len().min(PREFACE.len());
    ahead
        .starts_with(PREFACE.get(..length).unwrap_or_default())
        .then(|| (length == PREFACE.len()).then_some(Speech::Http2))
}

/// `None` while it could still be more than one.
fn judge(ahead: &[u8]) -> Option<Speech> {
    if let Some(speech) = judge_preface(ahead)
        && !ahead.is_empty()
    {
        // It differs from every method in its third byte.
        return speech;
    }
    let Some(space) = ahead.iter().position(|byte| *byte == b' ') else {
        let may_become = METHODS.iter().any(|method| method.as_bytes().starts_with(ahead));
        return if may_become { None } else { Some(Speech::Opaque) };
    };
    let (method, rest) = ahead.split_at(space);
    if !METHODS.iter().any(|known| known.as_bytes() == method) {
        return Some(Speech::Opaque);
    }
    match rest.get(1) {
        None => None,
        // origin-form, asterisk-form, absolute-form (RFC 9112 §3.2); authority-form for CONNECT alone.
        Some(b'/' | b'*' | b'h' | b'H') => Some(Speech::Http1),
        Some(byte) if method == b"CONNECT" && (byte.is_ascii_alphanumeric() || *byte == b'[') => Some(Speech::Http1),
        Some(_) => Some(Speech::Opaque),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    /// Bytes after which the decision is made at the latest: the longest method, a space and one more.
    const LONGEST: usize = 12;

    #[test]
    fn http_is_told_by_method_and_target() {
        for text in
            ["GET / HTTP/1.1\r\n", "POST /x", "OPTIONS *", "GET http://a/", "CONNECT a:1", "PROPFIND /", "PUT /"]
        {
            assert_eq!(judge(text.as_bytes()), Some(Speech::Http1), "{text}");
        }
    }

    #[test]
    fn everything_else_is_opaque_as_soon_as_it_can_be_known() {
        let others: [&[u8]; 13] = [
            b"x",
            b"\x16\x03\x01",
            b"SSH-2.0-x\r\n",
            b"EHLO a\r\n",
            b"PRI * HTTP/1.1\r\n",
            b"PRI / HTTP/2.0\r\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"GETX",
            b"GET\r\n",
            b"get / HTTP/1.1\r\n",
            b" GET /",
            b"GET key\r\n",
            b"\0\0\0\x08",
        ];
        for text in others {
            assert_eq!(judge(text), Some(Speech::Opaque), "{text:?}");
        }
    }

    #[test]
    fn a_prefix_of_a_method_waits_for_more_and_never_longer_than_promised() {
        for method in METHODS {
            let line = format!("{method} /");
            assert!(line.len() <= LONGEST, "{line}");
            for end in 1..line.len() {
                assert_eq!(judge(&line.as_bytes()[..end]), None, "{line} up to {end}");
            }
            assert_eq!(judge(line.as_bytes()), Some(Speech::Http1));
        }
    }

    #[test]
    fn http_2_is_told_by_its_whole_preface() {
        for end in 1..PREFACE.len() {
            assert_eq!(judge(&PREFACE[..end]), None, "up to {end}");
            assert_eq!(judge_preface(&PREFACE[..end]), Some(None), "up to {end}");
        }
        let more = [PREFACE, b"\0\0\0\x04"].concat();
        assert_eq!((judge(PREFACE), judge(&more)), (Some(Speech::Http2), Some(Speech::Http2)));
        assert_eq!(judge_preface(b"POST"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn where_only_http_is_spoken_what_is_not_http_2_is_http_1() {
        let (mut client, mut front) = duplex(64);
        let silence = Duration::from_secs(75);
        for (text, speech) in [("GET", Speech::Http1), ("\x16\x03", Speech::Http1), ("PR", Speech::Http1)] {
            client.write_all(text.as_bytes()).await.unwrap();
            assert_eq!(detect_http(&mut front, silence).await.unwrap(), (speech, Bytes::from(text)));
        }
        client.write_all(PREFACE).await.unwrap();
        assert_eq!(detect_http(&mut front, silence).await.unwrap(), (Speech::Http2, Bytes::from_static(PREFACE)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_split_method_is_put_together_and_nothing_is_lost() {
        let (mut client, mut front) = duplex(64);
        let writing = async {
            for part in ["G", "E", "T", " ", "/ HTTP/1.1\r\n"] {
                client.write_all(part.as_bytes()).await.unwrap();
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        };
        let detecting = detect(&mut front, Duration::from_millis(300));
        let (_, detected) = tokio::join!(writing, detecting);
        assert_eq!(detected.unwrap(), (Speech::Http1, Bytes::from_static(b"GET / HTTP/1.1\r\n")));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_an_unfinished_word_end_as_opaque() {
        let (mut client, mut front) = duplex(64);
        let started = tokio::time::Instant::now();
        let silence = Duration::from_millis(300);
        assert_eq!(detect(&mut front, silence).await.unwrap(), (Speech::Opaque, Bytes::new()));
        assert_eq!(started.elapsed(), silence);
        client.write_all(b"PO").await.unwrap();
        assert_eq!(detect(&mut front, silence).await.unwrap(), (Speech::Opaque, Bytes::from_static(b"PO")));
        assert_eq!(started.elapsed(), silence + REST);
        client.write_all(b"P").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(detect(&mut front, silence).await.unwrap(), (Speech::Opaque, Bytes::from_static(b"P")));
    }
}
