//! What fronts are told, and when. Time is paused, so a second is exactly one.

use tokio::sync::mpsc;

use super::*;
use crate::tunnel::Load;

const OTHER: NodeId = NodeId::from_bytes([4; 32]);
const SECOND: Duration = Duration::from_secs(1);

/// A backend at a Unix socket: with paused time, nothing on the way to it waits for the clock.
struct Place {
    worker: Worker,
    listener: UnixListener,
    _folder: tempfile::TempDir,
}

impl Place {
    fn with(change: impl FnOnce(Export) -> Export) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let worker = worker([change(unprobed("llm", format!("unix:{}", path.display())))]);
        Self { worker, listener, _folder: folder }
    }

    /// A connection through the worker, and the verdict's report.
    async fn connect(&self, from: NodeId) -> (Tunnel, JoinHandle<Served>, tokio::net::UnixStream) {
        let (opened, served) = dial(&self.worker, from, "llm").await;
        (opened.unwrap(), served, self.listener.accept().await.unwrap().0)
    }
}

/// A subscription, with each report and when it came.
struct Subscriber {
    reports: mpsc::UnboundedReceiver<(Instant, Load)>,
    served: JoinHandle<Served>,
    reading: JoinHandle<io::Result<usize>>,
}

async fn subscribe(worker: &Worker, from: NodeId) -> Result<Subscriber, OpenError> {
    let (front, carrier) = duplex(4096);
    let worker = worker.clone();
    let served = tokio::spawn(async move { worker.serve(carrier, from).await });
    let (mut stream, first) = open(front, &Header { class: Class::Load, ..header("llm") }).await?;
    let (sender, reports) = mpsc::unbounded_channel();
    sender.send((Instant::now(), first)).unwrap();
    stream.on_report(Arc::new(move |load| {
        let _ = sender.send((Instant::now(), load));
    }));
    let reading = tokio::spawn(async move { stream.read(&mut [0; 8]).await });
    Ok(Subscriber { reports, served, reading })
}

impl Subscriber {
    async fn next(&mut self) -> (Instant, Load) {
        self.reports.recv().await.expect("a report")
    }

    /// Forgets what was told so far.
    async fn settle(&mut self) {
        tokio::time::sleep(Duration::from_millis(150)).await;
        while self.reports.try_recv().is_ok() {}
    }

    /// What is told in `time`.
    async fn told_in(&mut self, time: Duration) -> Vec<Load> {
        self.settle().await;
        tokio::time::sleep(time).await;
        std::iter::from_fn(|| self.reports.try_recv().ok().map(|(_, load)| load)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_verdict_tells_what_is_under_way_over_all_fronts_and_for_the_one_that_asks() {
    let place = Place::with(|export| Export { slots: 3, ..export });
    let (first, ..) = place.connect(FRONT).await;
    assert_eq!((first.load.in_flight, first.load.slots, first.load.yours, first.load.received), (1, 3, 1, 1));
    let (second, ..) = place.connect(OTHER).await;
    let (third, served, _) = place.connect(FRONT).await;
    assert_eq!((second.load.in_flight, second.load.yours, second.load.received), (2, 1, 1));
    assert_eq!((third.load.in_flight, third.load.yours, third.load.received), (3, 2, 2));
    assert!(first.load.number < second.load.number && second.load.number < third.load.number);
    drop(third);
    served.await.unwrap();
    let (fourth, ..) = place.connect(FRONT).await;
    assert_eq!((fourth.load.in_flight, fourth.load.yours, fourth.load.received), (3, 2, 3));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_in_order_is_told_of_with_its_last_bytes() {
    let place = Place::with(|export| export);
    let (mut tunnel, served, backend) = place.connect(FRONT).await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&heard);
    tunnel.stream.on_report(Arc::new(move |load: Load| sink.lock().unwrap().push(load)));
    tokio::join!(say(&mut tunnel.stream, "x"), answer_after_the_end(backend, "y")).0.unwrap();
    served.await.unwrap();
    let heard = heard.lock().unwrap();
    assert_eq!(heard.iter().map(|load| (load.in_flight, load.yours, load.received)).collect::<Vec<_>>(), [(0, 0, 1)]);
}

#[tokio::test(start_paused = true)]
async fn numbers_grow_over_a_restart() {
    let place = Place::with(|export| export);
    let before = place.connect(FRONT).await.0.load.number;
    std::thread::sleep(Duration::from_millis(2));
    let place = Place::with(|export| export);
    assert!(place.connect(FRONT).await.0.load.number > before);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_hears_once_a_second_of_what_is_under_way_and_seldom_of_nothing() {
    let place = Place::with(|export| export);
    let mut subscriber = subscribe(&place.worker, OTHER).await.unwrap();
    let idle = subscriber.told_in(60 * SECOND).await;
    assert!((3..=5).contains(&idle.len()), "{} heartbeats in a minute", idle.len());
    assert!(idle.iter().all(|load| load.in_flight == 0));

    let start = Instant::now();
    let (_tunnel, served, backend) = place.connect(FRONT).await;
    let (at, load) = subscriber.next().await;
    assert!(at - start <= SECOND.mul_f64(1.2), "{:?}", at - start);
    assert_eq!((load.in_flight, load.yours, load.received), (1, 0, 0), "of others, not of its own");
    let busy = subscriber.told_in(60 * SECOND).await;
    assert!((50..=75).contains(&busy.len()), "{} reports in a busy minute", busy.len());

    drop((_tunnel, backend));
    served.await.unwrap();
    let ended = Instant::now();
    let (at, load) = loop {
        let told = subscriber.next().await;
        if told.1.in_flight == 0 {
            break told;
        }
    };
    assert!(at - ended <= SECOND.mul_f64(1.2) && load.in_flight == 0);
    assert!(subscriber.told_in(12 * SECOND).await.len() <= 2, "and then it rests");
}

#[tokio::test(start_paused = true)]
async fn what_began_and_ended_between_two_reports_is_told() {
    let place = Place::with(|export| export);
    let mut subscriber = subscribe(&place.worker, FRONT).await.unwrap();
    subscriber.settle().await;
    let start = Instant::now();
    let (tunnel, served, backend) = place.connect(FRONT).await;
    drop((tunnel, backend));
    served.await.unwrap();
    let (at, load) = subscriber.next().await;
    assert!(at - start <= SECOND.mul_f64(1.2), "{:?}", at - start);
    assert_eq!((load.in_flight, load.received), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn that_the_last_slot_is_taken_is_told_at_once() {
    let place = Place::with(|export| Export { slots: 2, ..export });
    let mut subscriber = subscribe(&place.worker, OTHER).await.unwrap();
    let _first = place.connect(FRONT).await;
    subscriber.settle().await;
    let start = Instant::now();
    let _second = place.connect(FRONT).await;
    let (at, load) = subscriber.next().await;
    assert!(at - start <= Duration::from_millis(100) && load.in_flight == 2, "{:?}", at - start);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_free_again_is_told_at_once_and_at_most_ten_times_a_second() {
    let place = Place::with(|export| Export { slots: 1, ..export });
    let mut subscriber = subscribe(&place.worker, OTHER).await.unwrap();
    let (tunnel, served, _) = place.connect(FRONT).await;
    subscriber.settle().await;
    tokio::time::sleep(SECOND / 5).await;
    subscriber.settle().await;
    let start = Instant::now();
    drop(tunnel);
    served.await.unwrap();
    let (at, load) = subscriber.next().await;
    assert!(at - start <= Duration::from_millis(100) && load.in_flight == 0, "{:?}", at - start);

    subscriber.settle().await;
    let start = Instant::now();
    while start.elapsed() < 2 * SECOND {
        let (tunnel, served, _) = place.connect(FRONT).await;
        drop(tunnel);
        served.await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let told = std::iter::from_fn(|| subscriber.reports.try_recv().ok()).count();
    assert!((10..=21).contains(&told), "{told} in two seconds");
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_told_at_once_and_ends_subscriptions() {
    let place = Place::with(|export| export);
    let mut subscriber = subscribe(&place.worker, OTHER).await.unwrap();
    subscriber.settle().await;
    assert_eq!(place.worker.in_flight(), 0, "a subscription is no work");
    let start = Instant::now();
    place.worker.drain();
    let (at, load) = subscriber.next().await;
    assert!(load.draining && at - start <= Duration::from_millis(100));
    assert_eq!(subscriber.reading.await.unwrap().unwrap(), 0, "in order");
    assert!(matches!(subscriber.served.await.unwrap(), Served::Reported));
    place.worker.wait_idle().await;
    let refused = subscribe(&place.worker, OTHER).await.err();
    assert!(matches!(refused, Some(OpenError::Refused(Refusal::Draining))), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_subscription_takes_no_connection_and_is_checked_like_a_tunnel() {
    let place = Place::with(|export| Export { max_connections: 1, allow: vec![FRONT, OTHER], ..export });
    let (_tunnel, ..) = place.connect(FRONT).await;
    assert_eq!(refusal(&place.worker, FRONT, "llm").await, Refusal::Full);
    let subscriber = subscribe(&place.worker, OTHER).await.unwrap();
    let stranger = subscribe(&place.worker, STRANGER).await.err();
    assert!(matches!(stranger, Some(OpenError::Refused(Refusal::NotAllowed))), "{stranger:?}");
    let status = &place.worker.status()[0];
    assert_eq!((status.in_flight, status.busy, status.total), (1, 1, 1));
    drop(subscriber.reading);
    drop(subscriber.reports);
}

#[tokio::test(start_paused = true)]
async fn one_front_has_few_subscriptions_and_gets_them_back() {
    let place = Place::with(|export| export);
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(subscribe(&place.worker, FRONT).await.unwrap());
    }
    let refused = subscribe(&place.worker, FRONT).await.err();
    assert!(matches!(refused, Some(OpenError::Refused(Refusal::Full))), "{refused:?}");
    assert!(subscribe(&place.worker, OTHER).await.is_ok(), "others are not concerned");
    let gone = held.pop().unwrap();
    gone.reading.abort();
    gone.served.await.unwrap();
    assert!(subscribe(&place.worker, FRONT).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_changed_export_ends_its_subscriptions_and_tells_its_slots() {
    let place = Place::with(|export| export);
    let subscriber = subscribe(&place.worker, FRONT).await.unwrap();
    let changed = Export { slots: 7, ..place.worker.shared.state().offerings["llm"].export.clone() };
    place.worker.replace_exports(vec![changed]).unwrap();
    assert!(matches!(subscriber.served.await.unwrap(), Served::Reported));
    let mut subscriber = subscribe(&place.worker, FRONT).await.unwrap();
    assert_eq!(subscriber.next().await.1.slots, 7);
}

#[tokio::test(start_paused = true)]
async fn a_front_that_takes_no_reports_is_told_no_more() {
    let place = Place::with(|export| export);
    // Room for the verdict and one report.
    let (front, carrier) = duplex(80);
    let worker = place.worker.clone();
    let served = tokio::spawn(async move { worker.serve(carrier, FRONT).await });
    let (_deaf, _) = open(front, &Header { class: Class::Load, ..header("llm") }).await.unwrap();
    assert!(matches!(timeout(60 * SECOND, served).await.unwrap().unwrap(), Served::Abandoned(_)));
}
