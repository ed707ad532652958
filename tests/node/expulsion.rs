//! Members that are kept out for what they did, and what gossip does about them before that.

use std::{collections::BTreeSet, time::Duration};

use p2p_fed::net::{Acceptance, Frame, Traffic};
use tokio::time::Instant;

use crate::{
    network::{Member, quiet, token},
    soon,
};

const LENGTH: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_barred_member_is_parted_with_and_let_in_again_when_its_time_is_over() {
    let token = token();
    let one = Member::join(&token, quiet(vec![])).await;
    let two = Member::join(&token, quiet(one.addresses())).await;
    // Either end of the connection may bar the other: the one that dials, and the one that is dialled.
    for (judge, culprit) in [(&one, &two), (&two, &one)] {
        judge.meets(culprit.id).await;
        let barred = Instant::now();
        judge.net.bar(culprit.id, LENGTH, "forged").await;
        judge.loses(culprit.id).await;
        culprit.loses(judge.id).await;
        let refused = judge.net.refused().borrow().clone();
        assert_eq!(refused.barred[&culprit.id].why, "forged");
        judge.meets(culprit.id).await;
        assert!(barred.elapsed() >= LENGTH, "back after {:?}", barred.elapsed());
    }
}

#[tokio::test]
async fn a_banned_member_is_out_until_the_ban_is_lifted() {
    let token = token();
    let one = Member::join(&token, quiet(vec![])).await;
    let two = Member::join(&token, quiet(one.addresses())).await;
    one.meets(two.id).await;
    one.net.ban([two.id].into()).await;
    one.loses(two.id).await;
    // That a third one comes in proves that the second had its chance.
    let three = Member::join(&token, quiet(one.addresses())).await;
    one.meets(three.id).await;
    assert!(!one.net.peers().borrow().connected.contains_key(&two.id));
    one.net.ban(BTreeSet::new()).await;
    one.meets(two.id).await;
}

#[tokio::test]
async fn a_member_bars_itself_in_vain() {
    let token = token();
    let one = Member::join(&token, quiet(vec![])).await;
    let two = Member::join(&token, quiet(one.addresses())).await;
    one.net.bar(one.id, LENGTH, "forged").await;
    one.net.ban([one.id].into()).await;
    one.meets(two.id).await;
}

/// Three members, each connected to the others.
async fn triangle() -> (Member, Member, Member) {
    let token = token();
    let one = Member::join(&token, quiet(vec![])).await;
    let two = Member::join(&token, quiet(one.addresses())).await;
    let three = Member::join(&token, quiet([one.addresses(), two.addresses()].concat())).await;
    one.meets(two.id).await;
    two.meets(three.id).await;
    three.meets(one.id).await;
    (one, two, three)
}

/// Publishes different payloads until one arrives: subscriptions follow a connection a moment later.
async fn reach(from: &Member, to: &mut Member) -> Frame {
    let arriving = async {
        let mut again = tokio::time::interval(Duration::from_millis(20));
        for n in 0_u32.. {
            from.net.publish([from.id.as_bytes(), &n.to_be_bytes()[..]].concat()).await;
            tokio::select! {
                Some(frame) = to.arrivals.frames.recv() => return frame,
                _ = again.tick() => {}
            }
        }
        unreachable!("a u32 is never used up")
    };
    soon("a first message", arriving).await
}

async fn next(member: &mut Member, payload: &[u8]) -> Frame {
    let arriving = async {
        loop {
            let frame = member.arrivals.frames.recv().await.unwrap();
            if frame.bytes == payload {
                return frame;
            }
            // Nobody passes on what is not judged, so each message comes from who published it.
        }
    };
    soon("a message", arriving).await
}

fn received(member: &Member) -> u64 {
    let Traffic { received, .. } = member.net.meter().traffic();
    received.messages
}

#[tokio::test]
async fn who_passes_on_invalid_messages_is_published_to_no_more_and_then_not_heard() {
    let (mut victim, mut culprit, mut witness) = triangle().await;
    reach(&victim, &mut culprit).await;
    reach(&victim, &mut witness).await;
    reach(&culprit, &mut witness).await;
    let first = reach(&culprit, &mut victim).await;
    victim.net.judge(first.receipt, Acceptance::Reject).await;

    // One is enough to be left out.
    let before = received(&culprit);
    for n in 0..20_u8 {
        let payload = [b'p', n];
        victim.net.publish(payload.to_vec()).await;
        next(&mut witness, &payload).await;
    }
    assert_eq!(received(&culprit), before, "published to a peer with a negative score");

    // Four more, and nothing is heard from it.
    for n in 0..4_u8 {
        let payload = [b'i', n];
        culprit.net.publish(payload.to_vec()).await;
        let frame = next(&mut victim, &payload).await;
        victim.net.judge(frame.receipt, Acceptance::Reject).await;
    }
    while victim.arrivals.frames.try_recv().is_ok() {}
    for n in 0..20_u8 {
        let payload = [b'u', n];
        culprit.net.publish(payload.to_vec()).await;
        next(&mut witness, &payload).await;
    }
    assert!(victim.arrivals.frames.try_recv().is_err(), "heard of a peer on the graylist");
    assert!(victim.net.peers().borrow().connected.contains_key(&culprit.id), "parting is for others to decide");
}
