//! Clients that a command made, and the sessions of machines.

use std::net::Ipv4Addr;

use uuid::Uuid;

use crate::domain::Client;
use crate::domain::ClientId;
use crate::domain::Consent;
use crate::domain::Grant;
use crate::domain::MachineSession;
use crate::domain::Scopes;
use crate::domain::SessionId;
use crate::store::ClientProof;
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
        name: None,
        secret: Some(hash(1)),
        redirect_uris: Vec::new(),
        post_logout_redirect_uris: Vec::new(),
        scopes: Scopes::default(),
        grants: vec![Grant::ClientCredentials],
        consent: Consent::Ask,
        roles: Vec::new(),
        resources: Vec::new(),
    };
    let opens_for = async |id: &str, proof: ClientProof| {
        let session = MachineSession {
            id: SessionId::new(Uuid::now_v7()),
            client: ClientId::parse(id).unwrap(),
            scopes: Scopes::default(),
            audience: None,
            expires_at: at(1000),
            address: Ipv4Addr::LOCALHOST.into(),
        };
        store
            .open_machine_session(&session, proof, at(0))
            .await
            .unwrap()
    };
    let opens = async |proof| opens_for("robot", proof).await;
    let shown = ClientProof::Stored(client.secret);
    let another = ClientProof::Stored(Some(hash(2)));
    // Those of others go on, whatever becomes of this one.
    assert!(opens_for("other", ClientProof::Declared).await);
    let alice = alice(&store).await;
    open(&store, alice.id, 9).await;
    assert!(opens(ClientProof::Declared).await, "a client of the file");
    assert!(!opens(shown).await, "there is none yet");
    assert!(store.create_client(&client, at(0)).await.unwrap());
    assert!(!store.create_client(&client, at(0)).await.unwrap());
    assert!(opens(shown).await);
    assert!(!opens(another).await, "another secret");

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
    assert!(opens(another).await);
    assert!(store.delete_client(&client.id, at(3)).await.unwrap());
    assert_eq!(changes(&store).await.len(), 4);
    assert!(!opens(another).await, "deleted");
    assert!(!store.delete_client(&client.id, at(3)).await.unwrap());
}
