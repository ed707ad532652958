//! Which transports carry a connection, and which may not.

use std::{fs, path::Path};

use p2p_fed::{
    certificate::Certificate,
    net::{Config, Transport, WebSocket},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use crate::{
    network::{Member, only, quiet, token},
    soon,
};

/// An authority that nobody else trusts, and what it issued to `localhost`: a certificate with its key, and its own.
fn issue(folder: &Path) -> WebSocket {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority, &authority_key).unwrap();
    let put = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    WebSocket {
        certificate: Some(Certificate {
            chain: put("cert.pem", certificate.pem()),
            key: put("key.pem", key.serialize_pem()),
        }),
        authorities: Some(put("ca.pem", authority.pem())),
    }
}

#[tokio::test]
async fn members_meet_over_websocket_and_tls_where_the_certificate_is_for_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let websocket = issue(folder.path());
    let token = token();
    let listener = only(Transport::WebSocket, vec![]);
    let listen = vec!["/ip4/127.0.0.1/tcp/0/tls/ws".parse().unwrap()];
    let shows = WebSocket { authorities: None, ..websocket.clone() };
    let listener = Member::join(&token, Config { listen, websocket: shows, ..listener }).await;
    let bound = listener.addresses().remove(0).to_string();
    assert!(bound.contains("/tls/ws"), "{bound}");
    let named = bound.replace("/ip4/127.0.0.1", "/dns4/localhost");

    // Whoever does not know the authority gets no further, and neither does one that goes by the number.
    let doubts = Member::join(&token, only(Transport::WebSocket, vec![named.parse().unwrap()])).await;
    let trusts = WebSocket { certificate: None, ..websocket };
    let by_number = only(Transport::WebSocket, vec![bound.parse().unwrap()]);
    let by_number = Member::join(&token, Config { websocket: trusts.clone(), ..by_number }).await;
    let by_name = only(Transport::WebSocket, vec![named.parse().unwrap()]);
    let by_name = Member::join(&token, Config { websocket: trusts, ..by_name }).await;
    by_name.meets(listener.id).await;
    listener.meets(by_name.id).await;
    let carried = by_name.net.peers().borrow().connected[&listener.id].transport;
    assert_eq!(carried, Transport::WebSocket);
    for other in [&doubts, &by_number] {
        assert!(other.net.peers().borrow().connected.is_empty());
    }
}

#[tokio::test]
async fn each_transport_carries_what_is_its_own() {
    for kind in [Transport::Tcp, Transport::Quic, Transport::WebSocket] {
        let token = token();
        let one = Member::join(&token, only(kind, vec![])).await;
        let other = Member::join(&token, only(kind, one.addresses())).await;
        other.meets(one.id).await;
        one.meets(other.id).await;
        assert_eq!(other.net.peers().borrow().connected[&one.id].transport, kind);
    }
}

#[tokio::test]
async fn a_transport_that_is_off_neither_listens_nor_dials() {
    let token = token();
    let both = Member::join(&token, quiet(vec![])).await;
    let without = Config { transports: [Transport::Quic].into_iter().collect(), listen: vec![], ..quiet(vec![]) };
    let without = Config { peers: both.addresses(), ..without };
    let without = Member::join(&token, without).await;
    assert!(without.addresses().iter().all(|address| Transport::of(address) == Transport::Quic));
    without.meets(both.id).await;
    let peer = without.net.peers().borrow().connected[&both.id].clone();
    assert_eq!(peer.transport, Transport::Quic);
    assert!(!without.net.speaks(Transport::Tcp));

    // There is no other way than the one that is off.
    let tcp_alone = both.addresses_over("tcp");
    let cut_off = Config { peers: tcp_alone, ..only(Transport::Quic, vec![]) };
    let cut_off = Member::join(&token, cut_off).await;
    let bystander = Member::join(&token, only(Transport::Tcp, both.addresses_over("tcp"))).await;
    soon("somebody else to get through", bystander.meets(both.id)).await;
    assert!(cut_off.net.peers().borrow().connected.is_empty());
}
