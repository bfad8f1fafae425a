//! Clients that a command made, and the sessions of machines.

use std::net::Ipv4Addr;

use uuid::Uuid;

use crate::domain::Client;
use crate::domain::ClientId;
use crate::domain::MachineSession;
use crate::domain::Scopes;
use crate::domain::SessionId;
use crate::domain::TokenHash;
use crate::store::Store;

use super::alice;
use super::at;
use super::changes;
use super::hash;
use super::open;

// SECURITY 41
#[tokio::test]
async fn a_machine_gets_no_session_for_a_secret_that_is_no_more() {
    let (store, _folder) = Store::for_test().await;
    let client = Client {
        id: ClientId::parse("robot").unwrap(),
        secret: hash(1),
        scopes: Scopes::default(),
        resources: Vec::new(),
    };
    let opens_for = async |id: &str, proven: Option<TokenHash>| {
        let session = MachineSession {
            id: SessionId::new(Uuid::now_v7()),
            client: ClientId::parse(id).unwrap(),
            scopes: Scopes::default(),
            audience: None,
            expires_at: at(1000),
            address: Ipv4Addr::LOCALHOST.into(),
        };
        store
            .open_machine_session(&session, proven, at(0))
            .await
            .unwrap()
    };
    let opens = async |proven| opens_for("robot", proven).await;
    let shown = Some(client.secret);
    // Those of others go on, whatever becomes of this one.
    assert!(opens_for("other", None).await);
    let alice = alice(&store).await;
    open(&store, alice.id, 9).await;
    assert!(opens(None).await, "a client of the file");
    assert!(!opens(shown).await, "there is none yet");
    assert!(store.create_client(&client, at(0)).await.unwrap());
    assert!(!store.create_client(&client, at(0)).await.unwrap());
    assert!(opens(shown).await);
    assert!(!opens(Some(hash(2))).await, "another secret");

    assert!(store.disable_client(&client.id, at(1)).await.unwrap());
    // The two that were opened.
    assert_eq!(changes(&store).await.len(), 2);
    assert!(!opens(shown).await, "disabled");
    assert!(store.enable_client(&client.id).await.unwrap());
    assert!(opens(shown).await);
    assert!(
        store
            .rotate_client_secret(&client.id, hash(2), at(2))
            .await
            .unwrap()
    );
    assert_eq!(changes(&store).await.len(), 3);
    assert!(!opens(shown).await, "rotated");
    assert!(opens(Some(hash(2))).await);
    assert!(store.delete_client(&client.id, at(3)).await.unwrap());
    assert_eq!(changes(&store).await.len(), 4);
    assert!(!opens(Some(hash(2))).await, "deleted");
    assert!(!store.delete_client(&client.id, at(3)).await.unwrap());
}
