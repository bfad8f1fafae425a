//! Tickets: one use, and a time.

use uuid::Uuid;

use crate::domain::SessionId;
use crate::store::Store;
use crate::store::StoredTicket;
use crate::store::contract::at;
use crate::store::contract::hash;

fn ticket() -> StoredTicket {
    StoredTicket {
        session: SessionId::new(Uuid::from_u128(7)),
        host: "app.example.com".to_owned(),
        binding: hash(9),
        return_to: "https://app.example.com/x?y".to_owned(),
        expires_at: at(30),
    }
}

#[tokio::test]
async fn a_ticket_is_found_once_and_in_time() {
    let (store, _folder) = Store::for_test().await;
    let keep = async |seed| store.keep_ticket(hash(seed), &ticket(), at(0)).await;
    let take = async |seed, seconds| store.take_ticket(hash(seed), at(seconds)).await.unwrap();

    keep(1).await.unwrap();
    assert_eq!(take(2, 1).await, None);
    assert_eq!(take(1, 29).await, Some(ticket()));
    assert_eq!(take(1, 29).await, None);

    keep(3).await.unwrap();
    assert_eq!(take(3, 30).await, None);
    assert_eq!(take(3, 29).await, None, "it was taken all the same");

    keep(4).await.unwrap();
    assert!(keep(4).await.is_err(), "no two are the same");
    let later = StoredTicket {
        expires_at: at(60),
        ..ticket()
    };
    store.keep_ticket(hash(5), &later, at(30)).await.unwrap();
    assert_eq!(take(4, 1).await, None, "it had lapsed, and was forgotten");
    assert_eq!(take(5, 31).await, Some(later));
}
