//! gRPC, by the Python packages of its own makers, over `h2://` backends.

use crate::{
    machine,
    process::{Exit, Process},
    python,
    three::Three,
};

#[tokio::test]
async fn grpc_calls_of_each_kind_arrive_with_their_trailers_and_status() {
    let _machine = machine::shared().await;
    let servers = [(); 3].map(|()| Process::spawn("grpc_server.py", &mut python::script("grpc_server.py")));
    let mut targets = Vec::new();
    for server in &servers {
        let line = server.says("port ").await;
        targets.push(format!("h2://127.0.0.1:{}", line.strip_prefix("port ").unwrap()));
    }
    let three = Three::start(<[String; 3]>::try_from(targets).unwrap()).await;
    for front in three.addresses {
        let mut client = python::script("grpc_client.py");
        let exit = Process::spawn("grpc_client.py", client.arg(front.to_string())).exit().await;
        let expected = "echo 1048576 OK yes well 00ff\ncount 1000 True\nchat ONCE UPON A TIME\n\
                        fail RESOURCE_EXHAUSTED no more täles well\nnone UNIMPLEMENTED\nmany 100 True\n";
        let Exit { code, stdout, stderr } = exit;
        assert_eq!((code, stdout.as_str()), (Some(0), expected), "{stderr}");
    }
    // One connection of the client, many calls: all workers had some.
    for worker in three.fronts[0].workers("federated").await {
        assert!(worker.requests_total > 20, "{} had {} calls", worker.name, worker.requests_total);
    }
}
