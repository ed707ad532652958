//! An issuer at work with the binary: machines that it invites, a new generation under load, a machine locked out.

use std::{sync::Arc, time::Instant};

use crate::{
    backend::Backend,
    host::Host,
    load::Load,
    machine,
    node::{Node, Plan},
    until,
};

/// A ban is to be everywhere within this.
const BAN_LIMIT_S: f64 = 10.0;

/// The issuer's own machine, and the token that only makes invitations.
struct Issuer {
    host: Arc<Host>,
}

impl Issuer {
    async fn found() -> Self {
        let host = Arc::new(Host::new());
        let minted = host.run(["token", "--admin"]).await;
        assert_eq!(minted.code, Some(0), "{minted:?}");
        host.write("issuer.token", &minted.stdout);
        Self { host }
    }

    /// Runs a command of the issuer's with its token; what it prints.
    async fn command(&self, args: &[&str]) -> String {
        let token = self.host.path("issuer.token").display().to_string();
        let args: Vec<_> = args.iter().copied().chain(["--token-file", &token]).collect();
        let exit = self.host.run(args).await;
        assert_eq!(exit.code, Some(0), "{exit:?}");
        exit.stdout
    }

    /// A machine with an invitation, and a node that runs there.
    async fn invite(&self, terms: &[&str], plan: Plan) -> Node {
        let host = Arc::new(Host::new());
        let invited = self.command(&[&["token", "invite"], terms].concat()).await;
        host.write("token", &invited);
        Node::start(host, plan).await
    }
}

#[tokio::test]
async fn a_rotation_and_a_ban_under_load_cost_no_request_and_lock_out_who_they_should() {
    let _machine = machine::shared().await;
    let issuer = Issuer::found().await;
    let backends = [Backend::start("a").await, Backend::start("b").await];
    // The front runs on the issuer's machine, which so has a node to hand decrees to.
    let own = issuer.command(&["token", "invite", "--role", "serve"]).await;
    issuer.host.write("token", &own);
    let front = Node::start(Arc::clone(&issuer.host), Plan::serve("front")).await;
    let (a, b) = (
        issuer
            .invite(
                &["--role", "expose", "--service", "fed*", "--once"],
                Plan::expose("a", backends[0].address).join(front.peer()),
            )
            .await,
        issuer.invite(&["--role", "expose"], Plan::expose("b", backends[1].address).join(front.peer())).await,
    );
    front.has_ready(&["a", "b"]).await;
    let load = Load::start(front.front().await, 100);
    load.more(100).await;

    let rotated = issuer.command(&["token", "rotate", "--now", "--node", "front"]).await;
    load.more(200).await;
    let late = Arc::new(Host::new());
    late.write("token", &std::fs::read_to_string(b.host.path("token")).unwrap());
    let locked_out = Node::start(late, Plan::expose("late", backends[1].address).join(front.peer())).await;
    issuer.host.write("issuer.token", &rotated);
    let third = issuer.invite(&["--role", "expose"], Plan::expose("c", backends[1].address).join(front.peer())).await;
    front.has_ready(&["a", "b", "c"]).await;
    assert!(locked_out.ledger().await.records.len() == 1, "the old token admits nobody");

    let banned = Instant::now();
    let said = issuer.host.run(["ban", "b", "--node", "front"]).await;
    assert!(said.code == Some(0) && said.stdout.starts_with("banned b "), "{said:?}");
    for node in [&front, &a, &third] {
        until("the banned one to be gone", async || {
            node.ledger().await.records.iter().all(|record| record.name != "b").then_some(())
        })
        .await;
    }
    let took = banned.elapsed().as_secs_f64();
    load.more(200).await;
    let tally = load.finish().await;
    println!("measured: gone everywhere after {took:.2} s, {} failed of {}", tally.failed.len(), tally.total());
    assert!(took < BAN_LIMIT_S, "{took} s");
    assert!(tally.failed.is_empty(), "{} of {} failed: {:#?}", tally.failed.len(), tally.total(), tally.failed);
}

#[tokio::test]
async fn what_an_invitation_does_not_say_is_refused_before_a_packet_is_sent() {
    let issuer = Issuer::found().await;
    let host = Host::new();
    let invited = issuer.command(&["token", "invite", "--role", "expose", "--service", "llm-*"]).await;
    let token = host.write("token", &invited).display().to_string();
    let bare = host.write("bare", &std::fs::read_to_string(issuer.host.path("issuer.token")).unwrap());
    for (args, complaint) in [
        (vec!["expose", "ssh=22", "--token-file", &token], "does not let this node expose \"ssh\""),
        (vec!["serve", "llm-7b@127.0.0.1:0", "--token-file", &token], "does not let this node serve"),
        (vec!["serve", "--token-file", bare.to_str().unwrap()], "admits by invitation and the token has none"),
    ] {
        let exit = host.run(&args).await;
        assert_eq!(exit.code, Some(2), "{exit:?}");
        assert!(exit.stderr.lines().count() == 1 && exit.stderr.contains(complaint), "{exit:?}");
    }
}
