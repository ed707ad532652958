//! Two hops of this program's own relay.

use super::{
    Backend, Site,
    chain::{Chain, Entry},
    process::{Process, role},
};

pub(super) async fn start(site: &Site<'_>) -> anyhow::Result<Chain> {
    let (far, hop) = hop("relay-far", &site.backend, site).await?;
    let (near, Backend { tcp, http }) = self::hop("relay-near", &hop, site).await?;
    Chain::new(Entry { tcp, http, http_mode: None, http2: None }, vec![near], vec![far]).ready().await
}

async fn hop(name: &'static str, to: &Backend, site: &Site<'_>) -> anyhow::Result<(Process, Backend)> {
    let mut command = role("relay")?;
    command.args([to.tcp.to_string(), to.http.to_string()]);
    let (process, (tcp, http)) = Process::announced(name, &mut command, site.folder).await?;
    Ok((process, Backend { tcp, http }))
}
