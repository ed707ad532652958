//! `--watch`: what follows a node ends when its reader has enough.

use serde_json::Value;

use crate::{
    backend::Backend,
    client, machine,
    network::Network,
    node::Plan,
    process::{Process, command},
};

#[tokio::test]
async fn watching_shows_changes_and_ends_with_its_reader() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let front = network.start(Plan::serve("front")).await;
    let backend = Backend::start("hyper").await;
    let socket = front.socket().display().to_string();
    let watch = front.host.start(["status", "--watch", "-o", "json", "--node", &socket]);
    watch.says("\"ready\":true").await;
    let _worker = network.start(Plan::expose("w", backend.address).join(front.peer())).await;
    let line = watch.says("\"state\":\"ready\"").await;
    serde_json::from_str::<Value>(&line).expect("one document a line");
    assert_eq!(watch.stderr(), "");

    let mut shell = command("bash");
    shell.args(["-c", "set -o pipefail; \"$@\" | head -n 1; echo \"${PIPESTATUS[0]}\" >&2", "bash"]);
    shell.arg(front.host.p2p_fed().as_std().get_args().last().unwrap());
    shell.args(["status", "--watch", "-o", "json", "--node", &socket]);
    let piped = Process::spawn("status --watch | head", &mut shell);
    // It notices when it has something to say.
    piped.says("\"ready\":true").await;
    for _ in 0..3 {
        client::who(front.front().await).await.unwrap();
    }
    let exit = piped.exit().await;
    assert_eq!((exit.stderr.as_str(), exit.stdout.lines().count()), ("0\n", 1), "{exit:?}");
}
