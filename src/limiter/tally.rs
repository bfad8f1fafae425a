//! Who holds how many of something: nobody more than he may (SECURITY 53).
//!
//! How many that is, and what is held, is said by whoever keeps the tally. It must never remember one who
//! holds nothing.

use std::collections::HashMap;

use crate::limiter::LimitKey;

/// What every holder has.
#[derive(Debug, Default)]
pub struct Tally(HashMap<LimitKey, usize>);

impl Tally {
    /// One more for this holder, unless he has `max` already: whether he got it.
    #[must_use]
    pub fn take(&mut self, holder: &LimitKey, max: usize) -> bool {
        let held = self.0.get(holder).copied().unwrap_or_default();
        if held >= max {
            return false;
        }
        self.0.insert(holder.clone(), held + 1);
        true
    }

    /// One of his comes back.
    pub fn give_back(&mut self, holder: &LimitKey) {
        if let Some(held) = self.0.get_mut(holder) {
            *held -= 1;
            if *held == 0 {
                self.0.remove(holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    // SECURITY 53
    #[test]
    fn nobody_holds_more_than_he_may_and_one_who_holds_nothing_is_forgotten() {
        let holder = |byte| LimitKey::source(Ipv4Addr::new(192, 0, 2, byte).into(), 64);
        let (one, other) = (holder(1), holder(2));
        let mut tally = Tally::default();
        assert!(!tally.take(&one, 0));
        assert!(tally.take(&one, 2) && tally.take(&one, 2));
        assert!(!tally.take(&one, 2));
        assert!(tally.take(&other, 2));

        tally.give_back(&one);
        assert!(tally.take(&one, 2));
        for holder in [&one, &one, &one, &other] {
            tally.give_back(holder);
        }
        assert!(tally.0.is_empty());
    }
}
