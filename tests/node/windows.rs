//! Gossip goes on while the token's windows change.

use std::{collections::BTreeMap, num::NonZeroU64, sync::Arc, time::Duration};

use p2p_fed::{
    net::{Acceptance, Config},
    token::{Mint, Token},
};
use tokio::time::{Instant, timeout};

use crate::{
    network::{Member, quiet},
    soon,
};

const WINDOW_S: u64 = 3;
const WINDOWS: u32 = 4;

/// The unit test beside `net::topics` does the same over many windows, with virtual clocks.
#[tokio::test]
async fn every_message_arrives_while_windows_change_and_clocks_are_half_a_window_apart() {
    let window = Duration::from_secs(WINDOW_S);
    let mint = Mint { crypto_interval_s: NonZeroU64::new(WINDOW_S).unwrap(), ..Mint::default() };
    let token = Arc::new(Token::mint(&mint).unwrap());
    let one = Member::join(&token, quiet(vec![])).await;
    let ahead = Config { clock_ahead: window / 2, ..quiet(one.addresses()) };
    let two = Member::join(&token, ahead).await;
    one.meets(two.id).await;
    two.meets(one.id).await;
    let connections = |members: &[Member; 2]| {
        let each = members.iter().flat_map(|member| member.net.peers().borrow().connected.clone());
        each.map(|(peer, connection)| (peer, connection.number)).collect::<BTreeMap<_, _>>()
    };
    let mut members = [one, two];
    let before = connections(&members);
    let (mut published, mut started) = (0_u32, None);
    while started.is_none_or(|started: Instant| started.elapsed() < WINDOWS * window) {
        let [from, to] = &mut members;
        let payload = published.to_be_bytes().to_vec();
        from.net.publish(payload.clone()).await;
        let arriving = async {
            loop {
                let frame = to.arrivals.frames.recv().await.unwrap();
                let found = frame.bytes == payload;
                to.net.judge(frame.receipt, Acceptance::Accept).await;
                if found {
                    break;
                }
            }
        };
        match started {
            // Subscriptions follow a connection a moment later.
            None => {
                if timeout(Duration::from_millis(50), arriving).await.is_ok() {
                    started = Some(Instant::now());
                }
            }
            Some(_) => soon("the message", arriving).await,
        }
        published += 1;
        members.rotate_left(1);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(connections(&members), before, "no connection was lost");
    println!("{published} messages over {WINDOWS} windows");
}
