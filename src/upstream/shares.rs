//! How many connections each holder keeps for as long as it pleases him: no more than are left for all
//! others (SECURITY 53).

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::Notify;

use crate::limiter::LimitKey;
use crate::limiter::Tally;

/// What every holder has.
#[derive(Debug, Default)]
pub(super) struct Shares {
    held: RefCell<Tally>,
    /// Tells those who wait that a share came back.
    pub(super) given_back: Notify,
}

impl Shares {
    /// However few are left.
    const ALWAYS_GRANTED: usize = 4;

    /// One more for this holder, where `left` are left for all.
    pub(super) fn take(self: &Rc<Self>, holder: &LimitKey, left: usize) -> Option<Share> {
        let max = left.max(Self::ALWAYS_GRANTED);
        let is_granted = self.held.borrow_mut().take(holder, max);
        is_granted.then(|| Share {
            holder: holder.clone(),
            shares: Rc::clone(self),
        })
    }
}

/// One of them. It comes back when it is dropped.
#[derive(Debug)]
pub struct Share {
    holder: LimitKey,
    shares: Rc<Shares>,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.held.borrow_mut().give_back(&self.holder);
        self.shares.given_back.notify_waiters();
    }
}
