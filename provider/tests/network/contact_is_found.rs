//! Tests that a client that knows only the peer id of a provider finds the addresses in the contact record of the
//! provider.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use phase_core::TrustedTime;
use phase_node::{FoundRecord, Node, NodeConfig, Role};
use phase_provider::Provider;
use tempfile::tempdir;

use super::support::{config, in_time, joined, source, start};

const NOW: u64 = 1_800_000_000;

#[tokio::test]
async fn a_contact_record_leads_to_its_provider_and_is_renewed() {
    let folder = tempdir().unwrap();
    in_time(async {
        let bootstrap = start(&folder.path().join("bootstrap"), &[]).await;
        let first = source(bootstrap.node()).await;
        let seconds = AtomicU64::new(NOW);
        let mut often = config(&folder.path().join("provider"), std::slice::from_ref(&first));
        often.contact_interval = Duration::from_millis(20);
        let dht = often.node.dht.as_mut().unwrap();
        dht.clock = Some(Arc::new(move || seconds.fetch_add(1, Ordering::Relaxed)));
        let provider = Provider::start(often).await.unwrap();

        let node = NodeConfig { bootstrap: vec![first], ..NodeConfig::in_dht(Role::Client, Vec::new(), Vec::new()) };
        let node = Node::start(node).await.unwrap();
        joined(node.handle()).await;
        let found = async |version: u64| loop {
            match node.handle().find_contact(provider.peer_id(), TrustedTime(NOW)).await {
                Ok(FoundRecord { record, .. }) if record.version > version => return record,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let contact = found(0).await;
        let listening: Vec<_> = provider.node().listen_addresses().await.iter().map(ToString::to_string).collect();
        assert_eq!((contact.peer.as_str(), &contact.addresses), (&*provider.peer_id().to_string(), &listening));
        node.handle().verify_contact(&contact).await.unwrap();
        assert!(node.handle().peer(&provider.peer_id()).is_some_and(|info| info.is_connected()));
        found(contact.version).await;
    })
    .await;
}
