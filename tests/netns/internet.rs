//! A thread that is the internet between namespaces.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, binary_heap::PeekMut},
    io,
    net::{Ipv4Addr, Ipv6Addr},
    panic,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::{
    runtime,
    sync::{Notify, mpsc},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tun_rs::{AsyncDevice, DeviceBuilder, SyncDevice};

use crate::{Counts, Line, Quality, inside};

/// The device of each attached namespace, as others name their only one.
const DEVICE: &str = "eth0";

/// The greatest packet: what Ethernet carries.
const MTU: u16 = 1500;

/// Namespaces that are attached at most.
const PORTS: u8 = 64;

/// Packets on their way at most, over all lines: 24 MiB. Further ones are dropped.
const IN_FLIGHT: usize = 16 << 10;

/// The internet's network of IPv4. Routers open no port to the networks that are kept for examples, so it is none of those; nothing
/// leaves these namespaces.
const NETWORK: [u8; 3] = [203, 0, 114];

/// An attached namespace. The first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port(u8);

/// The internet. Dropped, it carries nothing any more, and its thread has ended.
#[derive(Debug)]
pub struct Internet {
    state: Arc<Mutex<State>>,
    ports: Option<mpsc::Sender<(Port, SyncDevice)>>,
    thread: Option<thread::JoinHandle<io::Result<()>>>,
}

#[derive(Debug)]
struct State {
    began: Instant,
    seed: u64,
    attached: u8,
    usual: Quality,
    lines: HashMap<(Port, Port), Line>,
    in_flight: BinaryHeap<Reverse<Flight>>,
    /// Those that were in flight; breaks ties.
    flights: u64,
    dropped: u64,
}

/// A packet on its way. Compared by its time, then by when it was sent.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    arrives: Duration,
    number: u64,
    to: Port,
    packet: Vec<u8>,
}

impl Port {
    /// Its address of IPv4.
    pub fn ipv4(self) -> Ipv4Addr {
        let [a, b, c] = NETWORK;
        Ipv4Addr::new(a, b, c, self.0)
    }

    /// An address of its network of IPv6, a /48: that network's number, and the host's.
    pub fn ipv6(self, network: u16, host: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, self.0.into(), network, 0, 0, 0, host)
    }

    /// Where a packet goes; none for what is neither IPv4 nor IPv6, or goes to nobody here.
    fn of(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => {
                let (&NETWORK, &[port]) = packet.get(16..20)?.split_first_chunk()? else { return None };
                Some(Self(port))
            }
            6 => {
                let [0x20, 0x01, 0x0d, 0xb8, 0, port] = *packet.get(24..30)? else { return None };
                Some(Self(port))
            }
            _ => None,
        }
    }
}

impl Internet {
    /// An internet without anybody, all of whose chance follows from the seed.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn new(seed: u64) -> io::Result<Self> {
        let state = State {
            began: Instant::now(),
            seed,
            attached: 0,
            usual: Quality::default(),
            lines: HashMap::new(),
            in_flight: BinaryHeap::new(),
            flights: 0,
            dropped: 0,
        };
        let state = Arc::new(Mutex::new(state));
        let (ports, attached) = mpsc::channel(PORTS.into());
        let carried = state.clone();
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new()
            .name("internet".to_owned())
            .spawn(move || runtime.block_on(carry(carried, attached)))?;
        Ok(Self { state, ports: Some(ports), thread: Some(thread) })
    }

    /// Attaches the namespace of that name by a device `eth0`, which is up and has no address.
    ///
    /// # Errors
    /// When there is no such namespace, no right to enter it, no TUN in this kernel, or no room.
    pub fn attach(&self, space: &str) -> io::Result<Port> {
        let full = || io::Error::other("too many are attached");
        let device = device(space)?;
        let port = {
            let mut state = lock(&self.state);
            if state.attached == PORTS {
                return Err(full());
            }
            state.attached += 1;
            Port(state.attached)
        };
        let ports = self.ports.as_ref().ok_or_else(full)?;
        ports.try_send((port, device)).map_err(|_| full())?;
        Ok(port)
    }

    /// How well each line carries from now on that is not set apart.
    pub fn usually(&self, quality: Quality) {
        let mut state = lock(&self.state);
        state.usual = quality;
        state.lines.values_mut().for_each(|line| line.set(quality));
    }

    /// How well it carries in this direction from now on.
    pub fn set(&self, from: Port, to: Port, quality: Quality) {
        lock(&self.state).line(from, to).set(quality);
    }

    /// What became of the packets in this direction.
    pub fn counts(&self, from: Port, to: Port) -> Counts {
        lock(&self.state).line(from, to).counts()
    }

    /// Packets dropped because too many were on their way, over all lines: none, or the test asks for too much.
    pub fn dropped(&self) -> u64 {
        lock(&self.state).dropped
    }
}

#[allow(clippy::panic, reason = "a test that ran without its internet has shown nothing")]
impl Drop for Internet {
    fn drop(&mut self) {
        self.ports = None;
        let Some(ended) = self.thread.take().map(thread::JoinHandle::join) else { return };
        match ended {
            _ if thread::panicking() => {}
            Ok(Ok(())) => {}
            Ok(Err(error)) => panic!("the internet failed: {error}"),
            Err(panicked) => panic::resume_unwind(panicked),
        }
    }
}

impl State {
    fn line(&mut self, from: Port, to: Port) -> &mut Line {
        let seed = self.seed.wrapping_mul(1 << 16) + (u64::from(from.0) << 8) + u64::from(to.0);
        self.lines.entry((from, to)).or_insert_with(|| Line::new(self.usual, seed))
    }

    /// A packet is on its way, and maybe twice. What is to be delivered now; whether something is earlier than all before.
    fn send(&mut self, from: Port, packet: &[u8]) -> (Option<Port>, bool) {
        let Some(to) = Port::of(packet).filter(|to| *to != from && to.0 <= self.attached) else { return (None, false) };
        let now = self.began.elapsed();
        let mut at_once = None;
        let first = self.in_flight.peek().map(|Reverse(flight)| flight.arrives);
        for arrives in self.line(from, to).send(now, packet.len()) {
            if arrives <= now && at_once.is_none() {
                at_once = Some(to);
            } else if self.in_flight.len() < IN_FLIGHT {
                self.flights += 1;
                self.in_flight.push(Reverse(Flight { arrives, number: self.flights, to, packet: packet.to_vec() }));
            } else {
                self.dropped += 1;
            }
        }
        (at_once, self.in_flight.peek().map(|Reverse(flight)| flight.arrives) != first)
    }

    /// What has arrived by now, and when the next one does.
    fn arrived(&mut self) -> (Vec<Flight>, Option<Instant>) {
        let now = self.began.elapsed();
        let mut arrived = Vec::new();
        while let Some(flight) = self.in_flight.peek_mut().filter(|flight| flight.0.arrives <= now) {
            arrived.push(PeekMut::pop(flight).0);
        }
        (arrived, self.in_flight.peek().map(|Reverse(flight)| self.began + flight.arrives))
    }
}

/// Held for a decision, never across a wait.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A device in that namespace. It stays there.
fn device(space: &str) -> io::Result<SyncDevice> {
    inside(space, || DeviceBuilder::new().name(DEVICE).mtu(MTU).build_sync())?
}

type Devices = Arc<Mutex<HashMap<Port, Arc<AsyncDevice>>>>;

/// Reads what each device sends and delivers it, until nobody can be attached any more.
async fn carry(state: Arc<Mutex<State>>, mut attached: mpsc::Receiver<(Port, SyncDevice)>) -> io::Result<()> {
    let (devices, earlier) = (Devices::default(), Arc::new(Notify::new()));
    let mut tasks = JoinSet::new();
    tasks.spawn(deliver(state.clone(), devices.clone(), earlier.clone()));
    loop {
        tokio::select! {
            new = attached.recv() => {
                let Some((port, device)) = new else { break };
                let device = Arc::new(AsyncDevice::new(device)?);
                at(&devices).insert(port, device.clone());
                tasks.spawn(read(port, device, state.clone(), devices.clone(), earlier.clone()));
            }
            // One that reads ends with its namespace.
            Some(ended) = tasks.join_next() => ended.map_err(io::Error::other)?,
        }
    }
    tasks.shutdown().await;
    Ok(())
}

async fn read(port: Port, device: Arc<AsyncDevice>, state: Arc<Mutex<State>>, devices: Devices, earlier: Arc<Notify>) {
    let mut buffer = [0; MTU as usize];
    // An error: the namespace is gone.
    while let Ok(length) = device.recv(&mut buffer).await {
        let packet = &buffer[..length];
        let (to, is_earlier) = lock(&state).send(port, packet);
        if let Some(to) = to {
            write(&devices, to, packet);
        }
        if is_earlier {
            earlier.notify_one();
        }
    }
}

async fn deliver(state: Arc<Mutex<State>>, devices: Devices, earlier: Arc<Notify>) {
    loop {
        let (arrived, next) = lock(&state).arrived();
        arrived.iter().for_each(|flight| write(&devices, flight.to, &flight.packet));
        match next {
            Some(next) => tokio::select! {
                () = sleep_until(next) => {}
                () = earlier.notified() => {}
            },
            None => earlier.notified().await,
        }
    }
}

/// A kernel that takes no packet just then loses it, as a network card with a full ring does.
fn write(devices: &Devices, to: Port, packet: &[u8]) {
    let device = at(devices).get(&to).cloned();
    if let Some(device) = device {
        let _ = device.try_send(packet);
    }
}

fn at(devices: &Devices) -> MutexGuard<'_, HashMap<Port, Arc<AsyncDevice>>> {
    devices.lock().unwrap_or_else(PoisonError::into_inner)
}
