//! A large body, up and down: equal at the other end, and never in memory as a whole.

use std::fmt::Write;

use futures::stream;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::{
    Request, StatusCode,
    body::{Bytes, Frame},
    header::CONTENT_LENGTH,
};
use sha2::{Digest, Sha256};

use crate::{client, machine, streaming::one_worker};

const MIB: u64 = 1024 * 1024;

/// What the front and the worker may grow by, whatever the body's size.
const GROWTH_KIB: u64 = 50 * 1024;

/// A server's usual read.
const CHUNK: u64 = 64 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_goes_up_and_down_at_once_in_flat_memory() {
    let _machine = machine::alone().await;
    let mib = std::env::var("E2E_BODY_MIB").map_or(128, |text| text.parse().unwrap());
    let length = mib * MIB;
    let (_backend, worker, front) = one_worker().await;
    let address = front.front().await;
    // Once, so that what is needed but once has been allocated.
    client::who(address).await.unwrap();
    let idle = [&front, &worker].map(|node| node.process.memory_kib());

    let start = std::time::Instant::now();
    let expected = tokio::task::spawn_blocking(move || {
        let mut digest = Sha256::new();
        chunks(length).for_each(|chunk| digest.update(&chunk));
        hex(&digest.finalize())
    });
    let up = tokio::spawn(async move {
        let body =
            StreamBody::new(stream::iter(chunks(length).map(|chunk| Ok::<_, std::io::Error>(Frame::data(chunk)))));
        let request = Request::post("/sha256").header(CONTENT_LENGTH, length).body(body).unwrap();
        let response = client::send(address, request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    });
    let down = tokio::spawn(async move {
        let request = Request::get(format!("/bytes/{length}")).body(Empty::<Bytes>::new()).unwrap();
        let mut body = client::send(address, request).await.unwrap().into_body();
        let mut digest = Sha256::new();
        while let Some(frame) = body.frame().await {
            digest.update(frame.unwrap().into_data().unwrap());
        }
        hex(&digest.finalize())
    });
    let (expected, up, down) = (expected.await.unwrap(), up.await.unwrap(), down.await.unwrap());
    let took = start.elapsed();
    assert_eq!((&up, &down), (&expected, &expected));

    let growth = [&front, &worker].map(|node| node.process.peak_memory_kib());
    let growth = [growth[0].saturating_sub(idle[0]), growth[1].saturating_sub(idle[1])];
    println!("measured: {mib} MiB up and down at once in {took:.1?}; memory grew by {growth:?} KiB from {idle:?}");
    assert!(growth.iter().all(|&kib| kib <= GROWTH_KIB), "memory grew by {growth:?} KiB (front, worker)");
}

/// `length` bytes of which no two chunks are alike.
pub fn chunks(length: u64) -> impl Iterator<Item = Bytes> + Send {
    // The digits of a linear congruence (Knuth's MMIX) look random enough to not be compressed or mistaken.
    let mut state = 1_u64;
    let block: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(CHUNK as usize)
    .collect();
    (0..length.div_ceil(CHUNK)).map(move |number| {
        let mut chunk = block.clone();
        chunk[..8].copy_from_slice(&number.to_be_bytes());
        chunk.truncate((length - number * CHUNK).min(CHUNK) as usize);
        chunk.into()
    })
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
