//! One simulated worker: its slots, what waits inside of it, and what it reports.

use std::collections::VecDeque;

use p2p_fed::tunnel::Load;

use crate::{chance::Chance, fleet::Machine, work::Job};

/// Bytes of one token in an answer's stream.
const TOKEN: f64 = 160.0;

/// Seconds over which a worker averages its rate.
const RATE: f64 = 5.0;

/// Work that is none: what rounding leaves of a job.
const DONE: f64 = 1e-6;

pub(crate) struct Worker {
    machine: Machine,
    shared: bool,
    /// 1, or less while it stumbles.
    factor: f64,
    running: Vec<Running>,
    queue: VecDeque<usize>,
    /// When `running` was last brought up to date, in seconds.
    at: f64,
    /// Changes with each plan, so that an event of an older one is told apart.
    pub(crate) plan: u64,
    yours: Vec<u32>,
    received: Vec<u64>,
    reports: u64,
    rate: f64,
    /// When it last told everybody that a slot is free again or none any more, and whether it is about to.
    pub(crate) hurried: f64,
    pub(crate) hurries: bool,
}

struct Running {
    job: usize,
    /// Work left until the first token, or until the end.
    left: f64,
    reads: bool,
}

/// Something that came out of a worker.
pub(crate) enum Done {
    First(usize),
    Last(usize),
}

impl Worker {
    pub(crate) fn new(machine: Machine, shared: bool, fronts: usize) -> Self {
        Self {
            machine,
            shared,
            factor: 1.0,
            running: Vec::new(),
            queue: VecDeque::new(),
            at: 0.0,
            plan: 0,
            yours: vec![0; fronts],
            received: vec![0; fronts],
            reports: 0,
            rate: 0.0,
            hurried: -1.0,
            hurries: false,
        }
    }

    /// No slot is free.
    pub(crate) fn is_full(&self) -> bool {
        self.running.len() >= self.machine.slots as usize
    }

    fn speed(&self) -> f64 {
        self.machine.slot_speed(self.shared, self.running.len()) * self.factor
    }

    fn advance(&mut self, now: f64) {
        let speed = self.speed();
        let passed = now - self.at;
        self.at = now;
        for running in &mut self.running {
            running.left -= passed * speed;
        }
        if !self.running.is_empty() && passed > 0.0 {
            let kept = if self.rate == 0.0 { 0.0 } else { (-passed / RATE).exp() };
            self.rate = self.rate * kept + TOKEN * speed * (1.0 - kept);
        }
    }

    pub(crate) fn take(&mut self, now: f64, job: usize, jobs: &[Job]) {
        self.advance(now);
        self.yours[jobs[job].front] += 1;
        self.received[jobs[job].front] += 1;
        self.queue.push_back(job);
        self.fill(jobs);
    }

    pub(crate) fn stumble(&mut self, now: f64, factor: f64) {
        self.advance(now);
        self.factor = factor;
        self.plan += 1;
    }

    /// What is over by now.
    pub(crate) fn step(&mut self, now: f64, jobs: &[Job]) -> Vec<Done> {
        self.advance(now);
        let mut done = Vec::new();
        let yours = &mut self.yours;
        self.running.retain_mut(|running| {
            if running.left > DONE {
                return true;
            }
            let job = &jobs[running.job];
            if running.reads {
                *running = Running { job: running.job, left: job.make, reads: false };
                done.push(Done::First(running.job));
                return true;
            }
            yours[job.front] -= 1;
            done.push(Done::Last(running.job));
            false
        });
        self.fill(jobs);
        done
    }

    /// In how many seconds something is over next.
    pub(crate) fn next(&self) -> Option<f64> {
        let least = self.running.iter().map(|running| running.left).min_by(f64::total_cmp)?;
        Some(least.max(0.0) / self.speed())
    }

    fn fill(&mut self, jobs: &[Job]) {
        while self.running.len() < self.machine.slots as usize
            && let Some(job) = self.queue.pop_front()
        {
            self.running.push(Running { job, left: jobs[job].read, reads: true });
        }
        self.plan += 1;
    }

    /// What it tells `front`; its measure of its own speed is a tenth off, either way.
    pub(crate) fn report(&mut self, front: usize, chance: &mut Chance, says_slots: bool) -> Load {
        self.reports += 1;
        Load {
            in_flight: (self.running.len() + self.queue.len()) as u32,
            slots: if says_slots { self.machine.slots } else { 0 },
            number: self.reports,
            yours: self.yours[front],
            received: self.received[front],
            rate: (self.rate * chance.lognormal(1.0, 0.1)) as f32,
            ..Load::default()
        }
    }
}
