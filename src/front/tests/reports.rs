//! Subscriptions to the workers' reports.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::sync::watch;

use super::lab::{Lab, Worker, node, within};
use crate::tunnel::Load;

const MINUTE: Duration = Duration::from_secs(60);

/// A worker that gives reports; who listens to it can be counted.
fn tells(lab: &Lab, id: u8) -> watch::Sender<Load> {
    let sender = watch::Sender::new(Load::default());
    lab.paths.reports.lock().unwrap().insert(node(id), sender.clone());
    sender
}

async fn has_listeners(sender: &watch::Sender<Load>, wanted: usize) {
    within(async {
        while sender.receiver_count() != wanted {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

fn lab(workers: usize) -> Lab {
    Lab::new(std::iter::repeat_n(Worker::Unreachable, workers))
}

#[tokio::test]
async fn each_connected_worker_is_asked_for_its_reports_and_who_leaves_is_not() {
    let lab = lab(2);
    let (one, two) = (tells(&lab, 1), tells(&lab, 2));
    lab.reconcile(1);
    has_listeners(&one, 1).await;
    has_listeners(&two, 1).await;
    lab.withdraw(2);
    has_listeners(&two, 0).await;
    has_listeners(&one, 1).await;
    within(lab.front.drain(Duration::ZERO)).await;
    has_listeners(&one, 0).await;
}

#[tokio::test]
async fn a_worker_that_comes_back_on_another_connection_is_asked_anew() {
    let lab = lab(1);
    // It has none to give at first, so that the front is in no hurry.
    tokio::task::yield_now().await;
    let one = tells(&lab, 1);
    for connection in 1..20 {
        lab.reconcile(connection);
        has_listeners(&one, 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_reports_is_asked_less_and_less_often_and_heard_once_it_has_some() {
    let lab = lab(1);
    lab.reconcile(1);
    tokio::time::sleep(MINUTE * 10).await;
    let asked = lab.paths.subscriptions.load(Ordering::Relaxed);
    assert!((10..=25).contains(&asked), "{asked} times in ten minutes");
    let one = tells(&lab, 1);
    for _ in 0..8 {
        tokio::time::sleep(MINUTE / 4).await;
        // Workers speak this often when nothing happens; who falls silent for longer is left and asked anew.
        one.send_replace(Load::default());
    }
    assert_eq!(one.receiver_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_ends_or_falls_silent_is_opened_again() {
    let lab = lab(1);
    let one = tells(&lab, 1);
    lab.reconcile(1);
    has_listeners(&one, 1).await;
    let asked = || lab.paths.subscriptions.load(Ordering::Relaxed);

    // It ends when its sender is gone.
    let before = asked();
    lab.paths.reports.lock().unwrap().clear();
    drop(one);
    let one = tells(&lab, 1);
    has_listeners(&one, 1).await;
    assert!(asked() > before);

    let before = asked();
    for _ in 0..10 {
        tokio::time::sleep(MINUTE / 2).await;
        one.send_replace(Load::default());
    }
    assert_eq!(asked(), before, "who speaks now and then is left alone");
    tokio::time::sleep(MINUTE).await;
    assert_eq!(asked(), before + 1);
    assert_eq!(one.receiver_count(), 1);
}
