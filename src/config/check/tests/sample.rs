//! The shipped gateway.toml is good, true, and safe to misspell.

use proptest::proptest;

use crate::config::Secrets;

use super::read;

pub(super) const SAMPLE: &str = include_str!("../../../../gateway.toml");

#[test]
fn the_sample_is_good_and_its_warnings_are_meant() {
    let loaded = read(SAMPLE, Secrets::Read).unwrap_or_else(|problems| panic!("{problems}"));
    let names: Vec<_> = loaded
        .config
        .routes
        .iter()
        .map(|route| &*route.name)
        .collect();
    assert_eq!(names, ["echo", "public", "notes", "admin", "limited"]);
    let messages: Vec<_> = loaded
        .warnings
        .iter()
        .map(|warning| warning.message.as_str())
        .collect();
    assert_eq!(
        messages,
        [
            "route `echo` asks for no role and registration is open: whoever registers may pass",
            "route `public` is public: nobody is asked who they are",
            "route `notes` asks for no role and registration is open: whoever registers may pass",
            "route `limited` is public: nobody is asked who they are",
        ]
    );
}

/// The sample with every key that it only mentions.
pub(super) fn full() -> String {
    let is_key = |line: &str| {
        let name = line.split_once(" = ").map_or("", |(name, _)| name);
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        line.starts_with('[') || (!name.is_empty() && name.bytes().all(plain))
    };
    let uncomment = |line: &'static str| {
        line.strip_prefix("# ")
            .filter(|line| is_key(line))
            .unwrap_or(line)
    };
    let twice = |line: &&str| !line.starts_with("headers = \"portcullis\"");
    let lines: Vec<_> = SAMPLE.lines().map(uncomment).filter(twice).collect();
    lines.join("\n")
}

/// Every key that the sample only mentions is one, and what it calls a default is the default.
#[test]
fn the_commented_keys_of_the_sample_are_true() {
    let full = read(&full(), Secrets::Read)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config;
    let plain = read(SAMPLE, Secrets::Read)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config;

    assert_eq!(
        format!("{:?}", full.connections),
        format!("{:?}", plain.connections)
    );
    assert_eq!(format!("{:?}", full.tokens), format!("{:?}", plain.tokens));
    assert_eq!(format!("{:?}", full.log), format!("{:?}", plain.log));
    assert_eq!(full.store.sqlite, plain.store.sqlite);
    assert_eq!(
        format!("{:?}", full.store.key),
        format!("{:?}", plain.store.key)
    );
    assert_eq!(
        format!("{:?}", full.identity),
        format!("{:?}", plain.identity)
    );
    assert_eq!(full.limits.per_address, plain.limits.per_address);
    assert_eq!(full.limits.per_user, plain.limits.per_user);
    assert_eq!(full.limits.register, plain.limits.register);
    assert_eq!(full.limits.login, plain.limits.login);
    assert_eq!(full.limits.ipv6_prefix, plain.limits.ipv6_prefix);
    assert_eq!(full.limits.keys_max, plain.limits.keys_max);
    assert_eq!(
        full.accounts.password_length_min,
        plain.accounts.password_length_min
    );
    assert_eq!(full.hashing.memory_kib, plain.hashing.memory_kib);
    assert_eq!(full.hashing.iterations, plain.hashing.iterations);
    assert_eq!(full.hashing.queue, plain.hashing.queue);
    assert_eq!(full.hashing.deadline, plain.hashing.deadline);
    assert_eq!(full.routes.len(), plain.routes.len() + 2);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".*") {
        let _ = read(&text, Secrets::Read);
    }

    #[test]
    fn no_near_miss_makes_it_panic(cut in 0..SAMPLE.len(), length in 0..40_usize, put in r#"[\[\]="{}$#.a-z0-9\n]{0,6}"#) {
        let before = SAMPLE.get(..cut).unwrap_or_default();
        let after = SAMPLE.get(cut + length..).unwrap_or_default();
        let text = format!("{before}{put}{after}");
        let _ = (read(&text, Secrets::Read), read(&text, Secrets::Offline));
    }
}
