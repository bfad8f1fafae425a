//! RFC 3339 times, formatted once a second and patched for each line.

use std::io::Write;
use std::time::SystemTime;

/// `2026-11-22T05:16:00.123Z`, kept for the next line of the same second.
#[derive(Debug)]
pub(super) struct Stamp {
    second: u64,
    text: Vec<u8>,
}

/// `2026-11-22T05:16:00`
const SECOND_BYTES: usize = 19;

impl Default for Stamp {
    fn default() -> Self {
        Self {
            second: 0,
            text: b"1970-01-01T00:00:00.000Z".to_vec(),
        }
    }
}

impl Stamp {
    /// The time in UTC with milliseconds; times before 1970 count as 1970.
    pub(super) fn text(&mut self, time: SystemTime) -> &[u8] {
        let since = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        if since.as_secs() == self.second {
            self.text.truncate(SECOND_BYTES);
        } else {
            self.second = since.as_secs();
            self.text.clear();
            append_second(&mut self.text, self.second);
        }
        // Writing into a Vec does not fail.
        let _ = write!(self.text, ".{:03}Z", since.subsec_millis());
        &self.text
    }
}

fn append_second(text: &mut Vec<u8>, second: u64) {
    let (year, month, day) = civil_from_days(second / 86_400);
    let (hour, minute, second) = (second / 3600 % 24, second / 60 % 60, second % 60);
    // Writing into a Vec does not fail.
    let _ = write!(
        text,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
    );
}

/// Year, month and day of a number of days since 1970-01-01 in the Gregorian calendar, counted in
/// eras of 400 years (146097 days) that begin on a 1 March, so that leap days come last
/// (<https://howardhinnant.github.io/date_algorithms.html#civil_from_days>).
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let leap_days = day_of_era / 1460 + day_of_era / 146_096 - day_of_era / 36_524;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[track_caller]
    fn check(stamp: &mut Stamp, millis: u64, expected: &str) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        assert_eq!(str::from_utf8(stamp.text(time)), Ok(expected));
    }

    #[test]
    fn times_are_rfc_3339() {
        let stamp = &mut Stamp::default();
        check(stamp, 0, "1970-01-01T00:00:00.000Z");
        check(stamp, 7, "1970-01-01T00:00:00.007Z");
        check(stamp, 951_782_399_999, "2000-02-28T23:59:59.999Z");
        check(stamp, 951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(stamp, 951_868_800_000, "2000-03-01T00:00:00.000Z");
        check(stamp, 1_709_164_800_000, "2024-02-29T00:00:00.000Z");
        check(stamp, 1_795_324_560_123, "2026-11-22T05:16:00.123Z");
        check(stamp, 1_795_324_560_124, "2026-11-22T05:16:00.124Z");
        check(stamp, 4_107_542_400_000, "2100-03-01T00:00:00.000Z");
        check(stamp, 1_798_761_599_999, "2026-12-31T23:59:59.999Z");
    }

    #[test]
    fn times_before_1970_are_1970() {
        let time = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(Stamp::default().text(time), b"1970-01-01T00:00:00.000Z");
    }

    /// A calendar that is counted day by day.
    #[test]
    fn every_day_of_five_centuries_follows_the_one_before() {
        let is_leap = |year: u64| {
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
        };
        let mut expected = (1970, 1, 1);
        for days in 0..182_622 {
            assert_eq!(civil_from_days(days), expected);
            let (year, month, day) = expected;
            let length = match month {
                2 => 28 + u64::from(is_leap(year)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (_, last) if last == length => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
        }
        assert_eq!(expected, (2470, 1, 1));
    }
}
