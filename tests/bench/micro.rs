//! How long the hot cores take. `make micro` runs it; `ARGS=pick` runs those whose names contain that.

mod cores;

use cores::WORKLOADS;
use criterion::{BatchSize, Criterion, Throughput};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for workload in &WORKLOADS {
        let mut group = criterion.benchmark_group(workload.name);
        group.throughput(Throughput::Elements(workload.times.into()));
        // One is prepared at a time: two ledgers of a thousand records are large.
        group.bench_function("round", |bencher| {
            bencher.iter_batched(workload.prepare, |round| round(), BatchSize::PerIteration);
        });
    }
    criterion.final_summary();
}
