//! Clients that others wrote: curl, OpenAI's Python client, websockets.

use crate::{
    machine,
    network::Network,
    node::Plan,
    process::{Process, command, installed},
    python,
    streaming::one_worker,
    until,
};

#[tokio::test]
async fn curl_keeps_its_connection_over_requests_to_several_workers() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let fleet = crate::fleet::Fleet::start(&network).await;
    let url = format!("http://{}/who", fleet.address);
    let mut curl = command(installed("curl"));
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "30", "--write-out", "connects %{num_connects}\\n"]);
    curl.args([&url, &url, &url]);
    let exit = Process::spawn("curl", &mut curl).exit().await;
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let mut lines: Vec<_> = exit.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["connects 0", "connects 0", "connects 1", "hyper", "nginx", "python"]);
}

#[tokio::test]
async fn openais_client_streams_a_chat_completion() {
    let _machine = machine::shared().await;
    let (backend, _worker, front) = one_worker().await;
    let mut client = python::script("openai_chat.py");
    client.arg(format!("http://{}/v1", front.front().await));
    let client = Process::spawn("openai_chat.py", &mut client);
    backend.has_audience(1).await;
    for word in ["Once", "upon", "a", "time"] {
        let delta = format!(r#"{{"index":0,"delta":{{"role":"assistant","content":"{word}"}},"finish_reason":null}}"#);
        backend.emit(chunk(&delta));
        // The next is sent when this one was printed.
        client.says(word).await;
    }
    backend.emit(chunk(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#));
    backend.emit("data: [DONE]\n\n");
    backend.end();
    let exit = client.exit().await;
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(0), "Once\nupon\na\ntime\nstop\n"), "{}", exit.stderr);
}

fn chunk(choice: &str) -> String {
    let head = r#""id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"tale""#;
    format!("data: {{{head},\"choices\":[{choice}]}}\n\n")
}

#[tokio::test]
async fn websockets_echo_a_fragmented_mebibyte_and_keep_their_close_code() {
    let _machine = machine::shared().await;
    let server = Process::spawn("websocket_server.py", &mut python::script("websocket_server.py"));
    let port = server.says("port ").await;
    let port = port.strip_prefix("port ").unwrap();
    let network = Network::new().await;
    let front = network.start(Plan::serve("front")).await;
    let _worker = network.start(Plan::expose("w", port).join(front.peer())).await;
    front.has_ready(&["w"]).await;

    let mut client = python::script("websocket_client.py");
    client.arg(format!("ws://{}/echo", front.front().await));
    let exit = Process::spawn("websocket_client.py", &mut client).exit().await;
    let expected = "echoed 1048576 bytes\nponged\nclosed 4321 as agreed\n";
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(0), expected), "{}", exit.stderr);

    // A connection that was upgraded counts for as long as it lasts, and no longer.
    until("the front to be idle", async || (front.status().await.fronts[0].in_flight == 0).then_some(())).await;
}
