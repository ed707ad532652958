//! The conformance suite of HTTP/2 at a front. It comes as a Go module, so that `make h2spec` runs it and not every test.

use crate::{
    http::fronts,
    machine,
    process::{Process, command, installed},
};

#[tokio::test]
#[ignore = "needs h2spec, which needs Go: make h2spec"]
async fn h_02_h2spec_finds_no_fault_but_the_one_of_a_port_that_also_speaks_http_1() {
    let _machine = machine::shared().await;
    let (_backends, three) = fronts(&[]).await;
    let mut h2spec = command(installed("h2spec"));
    let port = three.addresses[0].port().to_string();
    h2spec.args(["--strict", "-h", "127.0.0.1", "-p", &port, "-P", "/echo"]);
    let exit = Process::spawn("h2spec", &mut h2spec).exit().await;
    let last = exit.stdout.lines().last().unwrap_or_default();
    println!("measured: {last}");
    let failures = exit.stdout.split_once("Failures:").map_or("", |(_, failures)| failures);
    // What does not begin as HTTP/2 does is HTTP/1 here, and is told so: 400 and a close. h2spec wants no answer at all.
    let failed: Vec<_> = failures.lines().map(str::trim).filter(|line| line.starts_with('×')).collect();
    assert_eq!(failed, ["× 2: Sends invalid connection preface"], "{}", exit.stdout);
    assert!(last.starts_with("146 tests, 145 passed, 0 skipped"), "{last}");
}
