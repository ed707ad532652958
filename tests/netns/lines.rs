//! The lab's own internet: what kernels see of it is what was asked for.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use p2p_fed_netns::{Quality, inside};

use crate::lab::{Family, Host, Lab};

const MS: Duration = Duration::from_millis(1);

/// Datagrams sent in a test. Their numbers fit one byte twice.
const SENT: u16 = 400;

/// Between two of them.
const GAP: Duration = Duration::from_millis(1);

/// A host's socket. It stays on the host, whoever uses it.
fn socket(host: &Host) -> UdpSocket {
    let address: SocketAddr = if host.address.contains(':') {
        format!("[{}]:5000", host.address).parse().unwrap()
    } else {
        format!("{}:5000", host.address).parse().unwrap()
    };
    inside(&host.space, || UdpSocket::bind(address)).unwrap().unwrap()
}

/// Sends numbered datagrams over a line of that quality. The numbers in the order of their arrival, each with how long it took.
fn arrived(family: Family, quality: Quality) -> Vec<(u16, Duration)> {
    let mut lab = Lab::of(family, 5);
    let (one, other) = (lab.public("one"), lab.public("other"));
    let (sender, receiver) = (socket(&one), socket(&other));
    sender.connect(receiver.local_addr().unwrap()).unwrap();
    lab.one_way(&one, &other, quality);
    let reader = std::thread::spawn(move || {
        // Nothing is as slow as that.
        receiver.set_read_timeout(Some(2000 * MS)).unwrap();
        let (mut arrived, mut buffer) = (Vec::new(), [0; 1000]);
        loop {
            match receiver.recv(&mut buffer) {
                Ok(_) => arrived.push((u16::from_be_bytes([buffer[0], buffer[1]]), Instant::now())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return arrived,
                Err(error) => panic!("{error}"),
            }
        }
    });
    let mut sent = Vec::new();
    for number in 0..SENT {
        let mut datagram = [0; 972];
        datagram[..2].copy_from_slice(&number.to_be_bytes());
        sent.push(Instant::now());
        sender.send(&datagram).unwrap();
        std::thread::sleep(GAP);
    }
    let arrived = reader.join().unwrap();
    let counts = lab.counts(&one, &other);
    assert_eq!(u64::from(SENT), counts.sent, "the simulator saw all");
    assert_eq!(arrived.len() as u64, counts.sent - counts.lost - counts.dropped + counts.doubled);
    arrived.into_iter().map(|(number, at)| (number, at - sent[usize::from(number)])).collect()
}

#[test]
#[ignore = "needs root: make netns"]
fn a_usual_line_carries_all_in_order() {
    for family in [Family::V4, Family::V6] {
        let numbers: Vec<_> = arrived(family, Quality::default()).into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, (0..SENT).collect::<Vec<_>>());
    }
}

#[test]
#[ignore = "needs root: make netns"]
fn a_bad_line_is_as_bad_as_asked_for() {
    let quality = Quality { delay: (100 * MS, 300 * MS), loss: 0.1, doubled: 0.1, strays: 0.1, ..Quality::default() };
    for family in [Family::V4, Family::V6] {
        let arrived = arrived(family, quality);
        let numbers: Vec<_> = arrived.iter().map(|(number, _)| *number).collect();
        let mut once = numbers.clone();
        once.sort_unstable();
        once.dedup();
        // Of 400, five standard deviations.
        assert!((10..=70).contains(&(usize::from(SENT) - once.len())), "lost: {}", usize::from(SENT) - once.len());
        assert!((6..=66).contains(&(numbers.len() - once.len())), "doubled: {}", numbers.len() - once.len());
        assert!(numbers.windows(2).any(|pair| pair[1] < pair[0]), "some are out of order");
        let least = arrived.iter().map(|(_, took)| *took).min().unwrap();
        assert!(least >= 100 * MS, "{least:?}");
    }
}

#[test]
#[ignore = "needs root: make netns"]
fn a_slow_line_has_a_queue_that_ends() {
    // 1000 bytes each on the wire, 200 of them a second: with the queue's 128 KiB, some 131 and those of 0.4 s pass.
    let arrived = arrived(Family::V4, Quality { rate: Some(200_000), ..Quality::default() });
    assert!((131..=SENT.into()).contains(&arrived.len()) && arrived.len() < SENT.into(), "{}", arrived.len());
    let greatest = arrived.iter().map(|(_, took)| *took).max().unwrap();
    assert!(greatest >= 600 * MS, "{greatest:?}");
}

#[test]
#[ignore = "needs root: make netns"]
fn a_cut_line_carries_nothing() {
    assert_eq!(arrived(Family::V4, Quality { cut: true, ..Quality::default() }), []);
}
