//! What clients want: prompts of any length, and answers a few of which are very long.

use crate::chance::Chance;

/// Tokens of prompt that a worker of speed 1 reads in a second, and tokens of answer that it makes.
const READ: f64 = 800.0;
const MADE: f64 = 25.0;

/// Tokens that a prompt and an answer have at most: a model's context.
const PROMPT_MAX: f64 = 16_384.0;
const ANSWER_MAX: f64 = 8192.0;

/// Clients. Half of all requests come from the first, the others from each as often.
const CLIENTS: usize = 40;

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// When it comes, in seconds.
    pub(crate) at: f64,
    pub(crate) front: usize,
    pub(crate) client: u64,
    /// Seconds of a slot of speed 1, until the first token and after it.
    pub(crate) read: f64,
    pub(crate) make: f64,
}

/// So many requests to so many fronts, of which those of a second take `rate` seconds of a slot of speed 1 on average.
pub(crate) fn jobs(seed: u64, count: usize, fronts: usize, rate: f64) -> Vec<Job> {
    let mut chance = Chance::new(seed);
    let mut jobs: Vec<_> = (0..count).map(|_| job(&mut chance, fronts)).collect();
    // By what they turned out to be: a tail this heavy differs from its mean in every sample.
    let mean = jobs.iter().map(|job| job.read + job.make).sum::<f64>() / count as f64;
    let mut at = 0.0;
    for job in &mut jobs {
        at += chance.exponential(mean / rate);
        job.at = at;
    }
    jobs
}

fn job(chance: &mut Chance, fronts: usize) -> Job {
    let prompt = chance.lognormal(400.0, 1.1).min(PROMPT_MAX);
    // One of ten is a long story.
    let answer = if chance.below(10) == 0 { chance.pareto(300.0, 1.5) } else { chance.lognormal(120.0, 0.9) };
    let client = if chance.below(2) == 0 { 0 } else { chance.below(CLIENTS) as u64 };
    Job {
        at: 0.0,
        front: chance.below(fronts),
        client,
        read: prompt / READ,
        make: answer.clamp(1.0, ANSWER_MAX) / MADE,
    }
}
