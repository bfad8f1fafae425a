//! `[verify]`: who may ask about requests of others.

use crate::config::Verify;
use crate::config::reader::Table;
use crate::config::values;

/// None where the file has no such table.
pub(super) fn verify(root: &Table<'_>) -> Option<Verify> {
    let is_there = root.get("verify").is_some();
    root.table("verify", |table| {
        let callers = table.list("callers", values::network);
        if !is_there {
            return None;
        }
        if let Some(value) = table.required("callers", "[\"127.0.0.1\"]") {
            if value.items().is_empty() {
                value.problem("nobody could ask; leave [verify] out, or name the proxies that ask");
            }
            if callers.iter().any(|network| network.prefix_len() == 0) {
                value.warning(
                    "anybody may ask; whoever does is believed who asks and from where, so name the \
                     proxies alone",
                );
            }
        }
        Some(Verify { callers })
    })
}
