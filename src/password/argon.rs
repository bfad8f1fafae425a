//! Argon2id (RFC 9106) with today's parameters, and hashes that were made with others.

use std::time::Instant;

use argon2::Algorithm;
use argon2::Argon2;
use argon2::Params;
use argon2::PasswordHash as Phc;
use argon2::PasswordHasher;
use argon2::PasswordVerifier;
use argon2::Version;
use argon2::password_hash;

use crate::config::Hashing;
use crate::domain::Password;
use crate::domain::PasswordHash;
use crate::password::Verdict;
use crate::telemetry::metrics::HashingMetrics;

/// Today's parameters.
pub(super) struct Argon {
    argon: Argon2<'static>,
    /// What unknown accounts are compared with; no password matches it, see [`Argon::verify`].
    nobody: Phc,
    metrics: HashingMetrics,
}

const OUTPUT_BYTES: usize = 32;

/// What one hash may cost, whoever wrote it into the store (SECURITY 33). Today's own parameters
/// are always accepted.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
const ITERATIONS_MAX: u32 = 16;
const LANES_MAX: u32 = 16;

impl Argon {
    /// One lane: a second would need a second core, which hashing may not have.
    pub(super) fn new(hashing: &Hashing, metrics: HashingMetrics) -> password_hash::Result<Self> {
        let lanes = 1;
        let params = Params::new(
            hashing.memory_kib,
            hashing.iterations,
            lanes,
            Some(OUTPUT_BYTES),
        )?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let nobody = argon.hash_password(b"nobody")?;
        Ok(Self {
            argon,
            nobody,
            metrics,
        })
    }

    /// Hashes under a fresh random salt.
    pub(super) fn hash(&self, password: &Password) -> password_hash::Result<PasswordHash> {
        let started = Instant::now();
        let phc = self.argon.hash_password(password.expose().as_bytes())?;
        self.metrics.hashed(started.elapsed());
        Ok(PasswordHash::new(phc.to_string()))
    }

    /// Compares with a stored hash. Without one, or with one that cannot be used, the password is
    /// compared all the same and differs whatever comes out.
    pub(super) fn verify(&self, password: &Password, hash: Option<&PasswordHash>) -> Verdict {
        let hash = hash.filter(|hash| !hash.is_nothing());
        let Some(stored) = hash.and_then(|hash| self.usable(hash)) else {
            let _ = self.matches(password, &self.nobody);
            return Verdict::Differs;
        };
        if !self.matches(password, &stored) {
            return Verdict::Differs;
        }
        let rehash = if self.is_todays(&stored) {
            None
        } else {
            // Where no new hash can be made, the old one stays good.
            self.hash(password).ok()
        };
        Verdict::Matches { rehash }
    }

    /// Reads a hash, and refuses it before it is computed if that would cost too much.
    fn usable(&self, hash: &PasswordHash) -> Option<Phc> {
        let stored = Phc::new(hash.as_str()).ok();
        let stored = stored.filter(|stored| self.is_affordable(stored));
        if stored.is_none() {
            tracing::error!("a stored password hash is malformed or beyond what may be computed");
        }
        stored
    }

    fn is_affordable(&self, stored: &Phc) -> bool {
        let today = self.argon.params();
        Params::try_from(stored).is_ok_and(|params| {
            params.m_cost() <= MEMORY_KIB_MAX.max(today.m_cost())
                && params.t_cost() <= ITERATIONS_MAX.max(today.t_cost())
                && params.p_cost() <= LANES_MAX
        })
    }

    fn matches(&self, password: &Password, stored: &Phc) -> bool {
        let started = Instant::now();
        let matches = self
            .argon
            .verify_password(password.expose().as_bytes(), stored);
        self.metrics.hashed(started.elapsed());
        matches.is_ok()
    }

    fn is_todays(&self, stored: &Phc) -> bool {
        stored.algorithm == self.nobody.algorithm
            && stored.version == self.nobody.version
            && Params::try_from(stored).as_ref() == Ok(self.argon.params())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::telemetry::metrics::Metrics;

    use super::*;

    const TODAY: Hashing = Hashing {
        memory_kib: 64,
        iterations: 2,
        threads: 1,
        queue: 1,
        deadline: Duration::ZERO,
    };

    fn argon(hashing: &Hashing) -> Argon {
        Argon::new(hashing, Metrics::new().hashing()).unwrap()
    }

    fn password() -> Password {
        Password::new("correct horse".to_owned())
    }

    fn phc(parameters: &str) -> PasswordHash {
        let salt_and_output = "c29tZXNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        PasswordHash::new(format!("{parameters}${salt_and_output}"))
    }

    // SECURITY 27
    #[test]
    fn hashes_are_argon2id_with_the_configured_parameters() {
        let owasp = Hashing {
            memory_kib: 19 * 1024,
            ..TODAY
        };
        let argon = argon(&owasp);
        let (first, second) = (argon.hash(&password()), argon.hash(&password()));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert!(
            first
                .as_str()
                .starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
        );
        assert_ne!(first, second, "each has its own salt");
        assert_eq!(
            argon.verify(&password(), Some(&first)),
            Verdict::Matches { rehash: None }
        );
    }

    #[test]
    fn other_parameters_match_and_are_hashed_anew() {
        let today = argon(&TODAY);
        for other in [
            Hashing {
                memory_kib: 32,
                ..TODAY
            },
            Hashing {
                memory_kib: 128,
                ..TODAY
            },
            Hashing {
                iterations: 1,
                ..TODAY
            },
        ] {
            let old = argon(&other).hash(&password()).unwrap();
            let Verdict::Matches { rehash: Some(new) } = today.verify(&password(), Some(&old))
            else {
                panic!("{other:?}");
            };
            assert_eq!(
                today.verify(&password(), Some(&new)),
                Verdict::Matches { rehash: None }
            );
            let wrong = Password::new("correct horse ".to_owned());
            assert_eq!(today.verify(&wrong, Some(&old)), Verdict::Differs);
        }
        for (algorithm, version) in [
            (Algorithm::Argon2i, Version::V0x13),
            (Algorithm::Argon2d, Version::V0x13),
            (Algorithm::Argon2id, Version::V0x10),
        ] {
            let old = Argon2::new(algorithm, version, today.argon.params().clone());
            let old = old.hash_password(password().expose().as_bytes()).unwrap();
            let old = PasswordHash::new(old.to_string());
            let verdict = today.verify(&password(), Some(&old));
            assert!(
                matches!(verdict, Verdict::Matches { rehash: Some(_) }),
                "{algorithm}"
            );
        }
    }

    // SECURITY 33
    #[test]
    fn a_hash_that_would_cost_too_much_is_never_computed() {
        let argon = argon(&TODAY);
        for affordable in ["m=1048576,t=1,p=1", "m=64,t=16,p=1", "m=128,t=1,p=16"] {
            let hash = phc(&format!("$argon2id$v=19${affordable}"));
            assert!(argon.usable(&hash).is_some(), "{affordable}");
        }
        for bomb in [
            "m=1048577,t=1,p=1",
            "m=4294967295,t=1,p=1",
            "m=64,t=17,p=1",
            "m=64,t=4294967295,p=1",
            "m=136,t=1,p=17",
            "m=4294967296,t=1,p=1",
        ] {
            let hash = phc(&format!("$argon2id$v=19${bomb}"));
            assert!(argon.usable(&hash).is_none(), "{bomb}");
            assert_eq!(argon.verify(&password(), Some(&hash)), Verdict::Differs);
        }
    }

    #[test]
    fn what_is_no_hash_matches_nothing() {
        let argon = argon(&TODAY);
        let unusable = [
            "",
            "correct horse",
            "$",
            "$argon2id$v=19$m=64,t=2,p=1",
            "$2b$12$abc",
        ];
        for text in unusable {
            let hash = PasswordHash::new(text.to_owned());
            assert_eq!(
                argon.verify(&password(), Some(&hash)),
                Verdict::Differs,
                "{text:?}"
            );
        }
        let foreign = phc("$scrypt$ln=4,r=8,p=1");
        assert_eq!(argon.verify(&password(), Some(&foreign)), Verdict::Differs);
    }

    // SECURITY 30
    #[test]
    fn whoever_has_no_password_costs_a_hash_and_types_in_vain() {
        let metrics = Metrics::new();
        let argon = Argon::new(&TODAY, metrics.hashing()).unwrap();
        let hashes = || {
            let text = metrics.encode();
            let mut lines = text.lines();
            let count = |line: &str| {
                let number = line.strip_prefix("portcullis_password_hash_seconds_count ")?;
                number.parse::<u64>().ok()
            };
            lines.find_map(count)
        };
        for typed in ["", "!", "nobody"] {
            let password = Password::new(typed.to_owned());
            let before = hashes().unwrap();
            let verdict = argon.verify(&password, Some(&PasswordHash::nothing()));
            assert_eq!(verdict, Verdict::Differs, "{typed:?}");
            assert_eq!(hashes(), Some(before + 1));
        }
    }

    // SECURITY 30
    #[test]
    fn nobody_has_no_password() {
        let argon = argon(&TODAY);
        let password = Password::new("nobody".to_owned());
        assert_eq!(argon.verify(&password, None), Verdict::Differs);
    }
}
