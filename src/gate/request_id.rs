//! The id by which a request is found again in logs, answers and the app behind.

use std::cell::Cell;
use std::hash::BuildHasher as _;
use std::hash::RandomState;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;

use crate::gate::source::Source;

/// A request's id and its trace context (W3C Trace Context §3.2).
#[derive(Clone, Debug)]
pub struct RequestId {
    id: HeaderValue,
    traceparent: HeaderValue,
}

/// Makes ids: one for each core. They are unique, and nobody's secret: a keyed hash of a counter
/// costs a tenth of what the generator of keys would.
#[derive(Debug, Default)]
pub struct RequestIds {
    hasher: RandomState,
    made: Cell<u64>,
}

impl RequestIds {
    /// Continues what a trusted proxy says, or starts afresh.
    pub fn name(&self, source: &Source, headers: &HeaderMap) -> RequestId {
        let mut fresh = self.fresh();
        if source.through_proxy {
            if let Some(id) = headers.get("x-request-id").filter(|id| is_id(id)) {
                fresh.id = id.clone();
            }
            let parent = headers.get("traceparent");
            if let Some(parent) = parent.filter(|parent| is_parent(parent)) {
                fresh.traceparent = parent.clone();
            }
        }
        fresh
    }

    /// A new id: 32 hexadecimal digits, which are the trace id as well. Both share their bytes.
    fn fresh(&self) -> RequestId {
        let made = self.made.get();
        self.made.set(made.wrapping_add(3));
        let random = |part: u64| hexadecimal(self.hasher.hash_one(made.wrapping_add(part)));
        let mut text = Vec::with_capacity(55);
        text.extend_from_slice(b"00-");
        text.extend_from_slice(&random(0));
        text.extend_from_slice(&random(1));
        text.extend_from_slice(b"-");
        text.extend_from_slice(&random(2));
        text.extend_from_slice(b"-00");
        let text = Bytes::from(text);
        let value = |bytes: Bytes| {
            HeaderValue::from_maybe_shared(bytes).unwrap_or_else(|_| HeaderValue::from_static("0"))
        };
        RequestId {
            id: value(text.slice(3..35)),
            traceparent: value(text),
        }
    }
}

/// Sixteen digits in lower case. All nibbles at once: each is spread into a byte of its own, and those
/// above nine are moved up to the letters.
fn hexadecimal(number: u64) -> [u8; 16] {
    const EACH: u128 = u128::MAX / 0xff;
    let mut spread = u128::from(number);
    spread = (spread | spread << 32) & 0x0000_0000_ffff_ffff_0000_0000_ffff_ffff;
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff_0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff;
    spread = (spread | spread << 4) & (EACH * 0x0f);
    let above_nine = (spread + EACH * 6) >> 4 & EACH;
    let digits = spread + EACH * u128::from(b'0') + above_nine * u128::from(b'a' - b'0' - 10);
    digits.to_be_bytes()
}

impl RequestId {
    /// For `X-Request-Id`.
    pub fn value(&self) -> &HeaderValue {
        &self.id
    }

    /// For `traceparent`.
    pub fn traceparent(&self) -> &HeaderValue {
        &self.traceparent
    }

    /// For logs and problems.
    pub fn as_str(&self) -> &str {
        // Faster than `to_str`; both are visible ASCII.
        std::str::from_utf8(self.id.as_bytes()).unwrap_or("-")
    }
}

/// Believed, but not blindly: it goes into logs and answers.
fn is_id(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    (1..=128).contains(&bytes.len())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
}

/// `00-` trace id `-` parent id `-` flags, in lower-case hexadecimal, and neither id all zeros.
fn is_parent(value: &HeaderValue) -> bool {
    let fields: Vec<_> = value.as_bytes().split(|byte| *byte == b'-').collect();
    let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let [b"00", trace, parent, flags] = fields.as_slice() else {
        return false;
    };
    (trace.len(), parent.len(), flags.len()) == (32, 16, 2)
        && [trace, parent, flags]
            .iter()
            .all(|field| field.iter().all(hex))
        && [trace, parent]
            .iter()
            .all(|id| id.iter().any(|byte| *byte != b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_sixteen_digits() {
        for number in [0, 9, 10, 0x0123_4567_89ab_cdef, u64::MAX, 1 << 63] {
            assert_eq!(hexadecimal(number), *format!("{number:016x}").as_bytes());
        }
    }

    #[test]
    fn a_fresh_id_is_the_trace_id() {
        let ids = RequestIds::default();
        let id = ids.fresh();
        assert_eq!(id.as_str().len(), 32);
        assert!(is_parent(id.traceparent()));
        for no_parent in [
            "-".repeat(55),
            format!("00-{}-{}-01", "0".repeat(32), "b".repeat(16)),
            format!("00-{}-{}-01", "A".repeat(32), "b".repeat(16)),
            format!("01-{}-{}-01", "a".repeat(32), "b".repeat(16)),
        ] {
            assert!(
                !is_parent(&HeaderValue::try_from(&no_parent).unwrap()),
                "{no_parent}"
            );
        }
        assert!(id.traceparent().to_str().unwrap().contains(id.as_str()));
        assert_ne!(id.as_str(), ids.fresh().as_str());
        assert_ne!(id.as_str(), RequestIds::default().fresh().as_str());
    }
}
