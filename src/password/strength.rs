//! What makes a new password too weak (NIST 800-63B §3.1.1.2: length and lists, no composition).

use zxcvbn::Score;
use zxcvbn::matching::patterns::MatchPattern;
use zxcvbn::zxcvbn;

use crate::config::Accounts;
use crate::domain::Password;

/// Why a new password is refused, in words for the person (field `password`): one sentence for
/// each thing that is wrong with it.
///
/// `context` is what the account is called: username, e-mail address, name. Takes a few
/// milliseconds at most.
pub fn weakness(password: &Password, rules: &Accounts, context: &[&str]) -> Option<String> {
    let text = password.expose();
    let problems: Vec<String> = [
        length_problem(text, rules.password_length_min),
        control_problem(text),
        context_problem(text, context),
        common_problem(text, rules.password_reject_common, context),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!problems.is_empty()).then(|| problems.join(" "))
}

fn length_problem(text: &str, length_min: usize) -> Option<String> {
    let bytes_max = Password::BYTES_MAX;
    if text.chars().count() < length_min {
        Some(format!("A password has at least {length_min} characters."))
    } else if text.len() > bytes_max {
        Some(format!("A password has at most {bytes_max} bytes."))
    } else {
        None
    }
}

/// Browsers drop line breaks from password fields and other programs end text at NUL: whoever got
/// such a password in once might never get it in again.
fn control_problem(text: &str) -> Option<String> {
    text.chars().any(char::is_control).then(|| {
        "A password has no control characters such as tabs and line breaks; blanks are welcome."
            .to_owned()
    })
}

fn context_problem(text: &str, context: &[&str]) -> Option<String> {
    let text = text.to_lowercase();
    context_words(context)
        .any(|word| text.contains(&word.to_lowercase()))
        .then(|| "A password does not contain your username, e-mail address or name.".to_owned())
}

/// Shorter words stand in too many good passwords by chance.
const CONTEXT_WORD_CHARACTERS: usize = 4;

/// The words of a name, and of an e-mail address what stands before the `@`.
fn context_words<'a>(context: &'a [&str]) -> impl Iterator<Item = &'a str> {
    context
        .iter()
        .filter_map(|words| words.split('@').next())
        .flat_map(str::split_whitespace)
        .filter(|word| word.chars().count() >= CONTEXT_WORD_CHARACTERS)
}

/// What comes after so many characters cannot make a password common, only slow to judge.
const JUDGED_CHARACTERS: usize = 64;

fn common_problem(text: &str, reject_common: bool, context: &[&str]) -> Option<String> {
    if !reject_common {
        return None;
    }
    let judged: String = text.chars().take(JUDGED_CHARACTERS).collect();
    let estimate = zxcvbn(&judged, context);
    let is_one_word = match estimate.sequence() {
        [only] => matches!(only.pattern, MatchPattern::Dictionary(_)),
        _ => false,
    };
    (is_one_word || estimate.score() <= Score::One).then(|| {
        "This is a common password, or as easy to guess as one: several words that have nothing to do with each other are better.".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use crate::config::Registration;
    use crate::domain::Scopes;

    use super::*;

    fn rules(password_length_min: usize, password_reject_common: bool) -> Accounts {
        Accounts {
            registration: Registration::Open,
            password_length_min,
            password_reject_common,
            reserved_usernames: Vec::new(),
            login_scopes: Scopes::default(),
        }
    }

    #[track_caller]
    fn check(text: &str, rules: &Accounts, context: &[&str], words: Option<&str>) {
        let password = Password::new(text.to_owned());
        match (weakness(&password, rules, context), words) {
            (None, None) => {}
            (Some(found), Some(words)) => assert!(found.contains(words), "{text:?}: {found}"),
            (found, words) => panic!("{text:?}: {found:?} for {words:?}"),
        }
    }

    // SECURITY 28
    #[test]
    fn length_is_counted_in_characters_and_nothing_must_be_mixed() {
        let lenient = rules(8, false);
        check("1234567", &lenient, &[], Some("at least 8 characters"));
        check("12345678", &lenient, &[], None);
        check("üüüüüüü", &lenient, &[], Some("at least 8 characters"));
        check("üüüüüüüü", &lenient, &[], None);
        check("        ", &lenient, &[], None);
        check("王小明王小明王小", &lenient, &[], None);
        check(&"x".repeat(64), &lenient, &[], None);
        check(&"x".repeat(1024), &lenient, &[], None);
        check(&"x".repeat(1025), &lenient, &[], Some("at most 1024 bytes"));
        check(
            "elevenchars",
            &rules(12, false),
            &[],
            Some("at least 12 characters"),
        );
        check("twelve chars", &rules(12, false), &[], None);
    }

    #[test]
    fn control_characters_are_refused() {
        for bad in [
            "correct\0horse",
            "correct\thorse",
            "correct horse\n",
            "correct\u{85}horse",
        ] {
            check(bad, &rules(8, false), &[], Some("no control characters"));
        }
    }

    // SECURITY 29
    #[test]
    fn common_passwords_are_refused_unless_allowed() {
        for common in [
            "password123",
            "qwertyuiop",
            "iloveyou",
            "aaaaaaaaaaaa",
            "123456789012",
            "P@ssw0rd",
        ] {
            check(common, &rules(8, true), &[], Some("common password"));
            check(common, &rules(8, false), &[], None);
        }
        check(
            "password123",
            &rules(12, true),
            &[],
            Some("common password"),
        );
        for good in [
            "correct horse battery staple",
            "vT9#kq2!mZx8",
            "Zwölf Boxkämpfer jagen Eva",
        ] {
            check(good, &rules(12, true), &[], None);
        }
        check(
            &"password".repeat(128),
            &rules(8, true),
            &[],
            Some("common password"),
        );
    }

    // SECURITY 29
    #[test]
    fn what_the_account_is_called_is_refused_in_any_case() {
        let context = ["Wanderer", "jo.smithers@example.com", "Al Özgür"];
        let named = Some("your username, e-mail address or name");
        for bad in [
            "xk4wanderer%9q",
            "XK4WANDERER%9q",
            "7!jo.smithers-kq",
            "q9özgür%kv2xw",
            "q9ÖZGÜR%kv2xw",
        ] {
            check(bad, &rules(8, true), &context, named);
            check(bad, &rules(8, true), &[], None);
        }
        check("xk4 also%9q example vq", &rules(8, true), &context, None);
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let found = weakness(
            &Password::new("alice\t".to_owned()),
            &rules(12, true),
            &["alice"],
        )
        .unwrap();
        assert_eq!(found.matches('.').count(), 4, "{found}");
    }
}
