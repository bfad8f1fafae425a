//! How many requests may be sent a second time: a part of all, and a few each second. Without a bound
//! an app that fails under its load would get all of it twice.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Retries;

/// What one core may send again to one upstream. It counts in hundredths of a retry.
#[derive(Debug)]
pub(super) struct Budget {
    retries: Option<Retries>,
    hundredths: Cell<u32>,
    paid_at: Cell<Instant>,
}

impl Budget {
    /// How many retries can be saved up, so that a quiet hour does not pay for a storm.
    const SAVED_MAX: u32 = 100;

    /// `None`: nothing is ever sent again.
    pub(super) fn new(retries: Option<Retries>) -> Self {
        let first_second = retries.map_or(0, |retries| retries.per_second.saturating_mul(100));
        Self {
            retries,
            hundredths: Cell::new(first_second.min(Self::SAVED_MAX * 100)),
            paid_at: Cell::new(Instant::now()),
        }
    }

    /// Another request pays its part.
    pub(super) fn deposit(&self) {
        if let Some(retries) = &self.retries {
            self.add(retries.percent);
        }
    }

    /// Whether anything is ever sent again.
    pub(super) fn is_open(&self) -> bool {
        self.retries.is_some()
    }

    /// Takes what one retry costs, if there is enough.
    pub(super) fn withdraw(&self) -> bool {
        let Some(retries) = &self.retries else {
            return false;
        };
        self.earn_by_time(retries.per_second);
        let left = self.hundredths.get().checked_sub(100);
        if let Some(left) = left {
            self.hundredths.set(left);
        }
        left.is_some()
    }

    /// Pays for the time that has passed, but for the part of a hundredth at its end: that is paid with
    /// the next, or whoever asks often would never be paid at all.
    fn earn_by_time(&self, per_second: u32) {
        let micros = self.paid_at.get().elapsed().as_micros();
        let earned = micros * u128::from(per_second) / 10_000;
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        let paid_for = Duration::from_micros(10_000) * earned;
        if let Some(paid_for) = paid_for.checked_div(per_second) {
            self.paid_at.set(self.paid_at.get() + paid_for);
            self.add(earned);
        }
    }

    fn add(&self, hundredths: u32) {
        let sum = self.hundredths.get().saturating_add(hundredths);
        self.hundredths.set(sum.min(Self::SAVED_MAX * 100));
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn budget(percent: u32, per_second: u32) -> Budget {
        Budget::new(Some(Retries {
            percent,
            per_second,
        }))
    }

    /// How many retries there are if one asks until there is none.
    fn drain(budget: &Budget) -> usize {
        std::iter::from_fn(|| budget.withdraw().then_some(())).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_of_all_requests_may_be_sent_again() {
        let budget = budget(20, 0);
        assert!(!budget.withdraw());
        (0..50).for_each(|_| budget.deposit());
        assert_eq!(drain(&budget), 10);
        (0..4).for_each(|_| budget.deposit());
        assert!(!budget.withdraw());
        budget.deposit();
        assert!(budget.withdraw());
    }

    #[tokio::test(start_paused = true)]
    async fn and_a_few_each_second() {
        let budget = budget(0, 3);
        assert_eq!(drain(&budget), 3);
        advance(Duration::from_secs(2)).await;
        assert_eq!(drain(&budget), 6);
        // Who asks often gets no more by it than who asks at the end.
        let mut granted = 0;
        for _ in 0..50 {
            advance(Duration::from_millis(20)).await;
            granted += drain(&budget);
        }
        assert!((2..=3).contains(&granted), "{granted}");
        // Nor any less.
        for _ in 0..1000 {
            advance(Duration::from_millis(1)).await;
            granted += drain(&budget);
        }
        assert!((5..=6).contains(&granted), "{granted}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_saved_up_has_an_end() {
        let budget = budget(20, 10);
        (0..1_000_000).for_each(|_| budget.deposit());
        advance(Duration::from_hours(1)).await;
        assert_eq!(drain(&budget), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn switched_off_there_is_none() {
        let budget = Budget::new(None);
        (0..100).for_each(|_| budget.deposit());
        advance(Duration::from_hours(1)).await;
        assert!(!budget.withdraw() && !budget.is_open());
    }
}
