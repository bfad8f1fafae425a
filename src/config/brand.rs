//! What a house gives its pages: a name, a logo, a colour. It must never open the logo's file.

use std::path::PathBuf;

use crate::config::Position;
use crate::domain::Malformed;

/// `[brand]`
#[derive(Clone, Debug)]
pub struct Brand {
    /// `name`: what pages call this gateway. Portcullis.
    pub name: String,
    /// `logo`: shown in place of the name.
    pub logo: Option<Logo>,
    /// `colour`: of buttons and links.
    pub colour: Colour,
}

/// A picture that is read at start.
#[derive(Clone, Debug)]
pub struct Logo {
    /// The file.
    pub path: PathBuf,
    /// What is in it, by its name.
    pub kind: LogoKind,
    /// Where it stands in the file.
    pub position: Position,
}

/// What a picture may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogoKind {
    /// `image/svg+xml`
    Svg,
    /// `image/png`
    Png,
}

/// A colour of sRGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour {
    /// Red.
    pub red: u8,
    /// Green.
    pub green: u8,
    /// Blue.
    pub blue: u8,
}

impl Colour {
    /// The house's own, where the file names none.
    pub const DEFAULT: Self = Self {
        red: 0x17,
        green: 0x69,
        blue: 0x5b,
    };

    /// Reads `#rrggbb`.
    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        const WRONG: Malformed =
            Malformed("a colour is \"#\" and six hexadecimal digits, such as \"#17695b\"");
        let digits = text.strip_prefix('#').ok_or(WRONG)?;
        // The number's own reader would also take a sign.
        if digits.len() != 6 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(WRONG);
        }
        let [_, red, green, blue] = u32::from_str_radix(digits, 16)
            .map_err(|_| WRONG)?
            .to_be_bytes();
        Ok(Self { red, green, blue })
    }
}

/// A name as it stands in headings and titles.
pub(super) fn name(text: &str) -> Result<String, Malformed> {
    let name = text.trim();
    let length = name.chars().count();
    if !(1..=40).contains(&length) || name.chars().any(char::is_control) {
        return Err(Malformed(
            "a name has 1 to 40 characters, all of them to be seen",
        ));
    }
    Ok(name.to_owned())
}

/// What a file's name says is in it.
pub(super) fn logo_kind(path: &str) -> Result<LogoKind, Malformed> {
    let path = path.to_ascii_lowercase();
    if path.ends_with(".svg") {
        Ok(LogoKind::Svg)
    } else if path.ends_with(".png") {
        Ok(LogoKind::Png)
    } else {
        Err(Malformed(
            "a logo is a file whose name ends in .svg or .png",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_is_six_digits() {
        let read = Colour::parse("#0a7FfF").expect("it is one");
        assert_eq!((read.red, read.green, read.blue), (0x0a, 0x7f, 0xff));
        for wrong in [
            "", "#", "#fff", "17695b", "#17695", "#17695b0", "#17695g", "#+7695b", "#17é95", "red",
            "#17695b;", " #17695b",
        ] {
            assert!(Colour::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_can_be_seen() {
        assert_eq!(name(" Acme & Söhne "), Ok("Acme & Söhne".to_owned()));
        assert!(name(&"x".repeat(40)).is_ok());
        for wrong in ["", "  ", "a\nb", &"x".repeat(41)] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_logo_is_told_by_its_name() {
        assert_eq!(logo_kind("a.SVG"), Ok(LogoKind::Svg));
        assert_eq!(logo_kind("certs/a.png"), Ok(LogoKind::Png));
        assert!(logo_kind("logo.jpg").is_err());
        assert!(logo_kind("png").is_err());
    }
}
