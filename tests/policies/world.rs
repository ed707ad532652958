//! Discrete events: jobs come to fronts, fronts send them to workers, workers answer and report.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use p2p_fed::tunnel::Load;

use crate::{
    chance::Chance,
    fleet::Fleet,
    rule::{Front, Rule},
    work::{Job, jobs},
    worker::{Done, Worker},
};

/// Seconds from a front to a worker, one way.
const WAY: f64 = 0.002;

/// Seconds between two pushes of a worker's report, give or take a fifth.
const PUSH: f64 = 1.0;

/// Seconds between two tellings at least that a slot is free again, or none any more.
const EDGE: f64 = 0.1;

/// A worker stumbles for so many seconds, the next one begins so long after it began.
const STUMBLE: (f64, f64) = (60.0, 300.0);

/// Seconds after the last job came, when whoever is not served never is.
const PATIENCE: f64 = 600.0;

/// Part of the jobs that comes before anything is measured.
const WARM_UP: f64 = 0.1;

/// One run.
pub(crate) struct Run<'a> {
    pub(crate) fleet: &'a Fleet,
    pub(crate) load: f64,
    pub(crate) fronts: usize,
    pub(crate) jobs: usize,
    pub(crate) seed: u64,
}

/// What came out.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Seconds to the first token, in order; of those that had none, those that they waited.
    pub(crate) first: Vec<f64>,
    /// Jobs that had not ended when time was over.
    pub(crate) unfinished: usize,
}

impl Outcome {
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        self.first[(self.first.len() * percent).div_ceil(100).max(1) - 1]
    }
}

enum Event {
    Comes(usize),
    Reaches {
        job: usize,
        worker: usize,
    },
    Works {
        worker: usize,
        plan: u64,
    },
    Tells {
        front: usize,
        worker: usize,
        load: Load,
    },
    First {
        job: usize,
    },
    Last {
        job: usize,
        worker: usize,
        load: Load,
    },
    Pushes {
        worker: usize,
    },
    /// A slot is free again where none was, or none is where one was.
    Turns {
        worker: usize,
    },
    Stumbles {
        worker: usize,
        factor: f64,
    },
}

struct World<'a> {
    rule: Rule,
    jobs: &'a [Job],
    fronts: Vec<Front>,
    workers: Vec<Worker>,
    chance: Chance,
    /// By time in nanoseconds, then by order of planning.
    agenda: BinaryHeap<Reverse<(u64, u64)>>,
    events: std::collections::HashMap<u64, Event>,
    planned: u64,
    now: f64,
    first: Vec<Option<f64>>,
    ended: Vec<bool>,
}

impl Run<'_> {
    pub(crate) fn play(&self, rule: Rule) -> Outcome {
        let jobs = jobs(self.seed, self.jobs, self.fronts, self.load * self.fleet.capacity());
        let over = jobs.last().map_or(0.0, |job| job.at) + PATIENCE;
        let fleet = self.fleet;
        let mut world = World {
            rule,
            jobs: &jobs,
            fronts: (0..self.fronts).map(|front| Front::new(rule, fleet, self.seed + front as u64)).collect(),
            workers: fleet.machines.iter().map(|m| Worker::new(*m, fleet.shared, self.fronts)).collect(),
            chance: Chance::new(self.seed ^ 0xffff),
            agenda: BinaryHeap::new(),
            events: std::collections::HashMap::new(),
            planned: 0,
            now: 0.0,
            first: vec![None; jobs.len()],
            ended: vec![false; jobs.len()],
        };
        for (job, what) in jobs.iter().enumerate() {
            world.plan(what.at, Event::Comes(job));
        }
        for worker in 0..fleet.machines.len() {
            if rule.is_told() {
                world.plan(PUSH * worker as f64 / fleet.machines.len() as f64, Event::Pushes { worker });
            }
        }
        if fleet.stumbles {
            let mut at = 30.0;
            for turn in 0.. {
                let worker = turn % fleet.machines.len();
                world.plan(at, Event::Stumbles { worker, factor: 0.25 });
                world.plan(at + STUMBLE.0, Event::Stumbles { worker, factor: 1.0 });
                at += STUMBLE.1;
                if at > over {
                    break;
                }
            }
        }
        world.run(over);
        let measured = (jobs.len() as f64 * WARM_UP) as usize..;
        let waited = |(job, first): (&Job, &Option<f64>)| first.unwrap_or(over) - job.at;
        let mut first: Vec<_> = jobs[measured.clone()].iter().zip(&world.first[measured.clone()]).map(waited).collect();
        first.sort_unstable_by(f64::total_cmp);
        let unfinished = world.ended[measured].iter().filter(|ended| !**ended).count();
        Outcome { first, unfinished }
    }
}

impl World<'_> {
    fn plan(&mut self, at: f64, event: Event) {
        self.planned += 1;
        // Rounded up: what is over then must be over.
        self.agenda.push(Reverse(((at.max(self.now) * 1e9).ceil() as u64, self.planned)));
        self.events.insert(self.planned, event);
    }

    fn run(&mut self, over: f64) {
        let mut left = self.jobs.len();
        while let Some(Reverse((nanos, number))) = self.agenda.pop() {
            self.now = nanos as f64 / 1e9;
            let Some(event) = self.events.remove(&number) else { continue };
            if self.now > over || left == 0 {
                break;
            }
            left -= usize::from(matches!(event, Event::Last { .. }));
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        let (now, clock) = (self.now, Duration::from_secs_f64(self.now));
        match event {
            Event::Comes(number) => {
                let job = &self.jobs[number];
                let picked = self.fronts[job.front].pick(clock, number, job, &mut self.chance);
                self.send(picked.map(|worker| (number, worker)));
                self.serve(job.front);
            }
            Event::Reaches { job, worker } => {
                let was_full = self.workers[worker].is_full();
                self.workers[worker].take(now, job, self.jobs);
                let front = self.jobs[job].front;
                if self.rule.is_told() {
                    let load = self.report(worker, front);
                    self.plan(now + WAY, Event::Tells { front, worker, load });
                }
                self.hurry(worker, was_full);
                self.watch(worker);
            }
            Event::Works { worker, plan } if self.workers[worker].plan == plan => {
                let was_full = self.workers[worker].is_full();
                for done in self.workers[worker].step(now, self.jobs) {
                    match done {
                        Done::First(job) => self.plan(now + WAY, Event::First { job }),
                        Done::Last(job) => {
                            let load = self.report(worker, self.jobs[job].front);
                            self.plan(now + WAY, Event::Last { job, worker, load });
                        }
                    }
                }
                self.hurry(worker, was_full);
                self.watch(worker);
            }
            Event::Works { .. } => {}
            Event::Tells { front, worker, load } => {
                self.fronts[front].report(clock, worker, load);
                self.serve(front);
            }
            Event::First { job } => {
                self.first[job] = Some(now);
                self.fronts[self.jobs[job].front].first(clock, job);
                self.serve(self.jobs[job].front);
            }
            Event::Last { job, worker, load } => {
                self.ended[job] = true;
                let front = &mut self.fronts[self.jobs[job].front];
                front.report(clock, worker, load);
                front.last(clock, job, worker);
                self.serve(self.jobs[job].front);
            }
            Event::Turns { worker } => {
                self.workers[worker].hurries = false;
                self.workers[worker].hurried = now;
                self.tell_all(worker);
            }
            Event::Pushes { worker } => {
                self.tell_all(worker);
                let next = PUSH * (0.8 + 0.4 * self.chance.part());
                self.plan(now + next, Event::Pushes { worker });
            }
            Event::Stumbles { worker, factor } => {
                self.workers[worker].stumble(now, factor);
                self.watch(worker);
            }
        }
    }

    /// Everybody is told soon of a worker that has become full, or is so no more.
    fn hurry(&mut self, worker: usize, was_full: bool) {
        let here = &mut self.workers[worker];
        if was_full != here.is_full() && self.rule.is_told() && !here.hurries {
            here.hurries = true;
            let at = here.hurried + EDGE;
            self.plan(at, Event::Turns { worker });
        }
    }

    fn tell_all(&mut self, worker: usize) {
        for front in 0..self.fronts.len() {
            let load = self.report(worker, front);
            self.plan(self.now + WAY, Event::Tells { front, worker, load });
        }
    }

    fn report(&mut self, worker: usize, front: usize) -> Load {
        self.workers[worker].report(front, &mut self.chance, self.rule.says_slots())
    }

    fn serve(&mut self, front: usize) {
        let served = self.fronts[front].served();
        self.send(served);
    }

    fn send(&mut self, picked: impl IntoIterator<Item = (usize, usize)>) {
        for (job, worker) in picked {
            self.plan(self.now + WAY, Event::Reaches { job, worker });
        }
    }

    fn watch(&mut self, worker: usize) {
        let plan = self.workers[worker].plan;
        if let Some(next) = self.workers[worker].next() {
            self.plan(self.now + next, Event::Works { worker, plan });
        }
    }
}
