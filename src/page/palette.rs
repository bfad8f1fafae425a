//! The colours that are derived from a house's own, so that every text can be read on what is below it.
//!
//! Contrast is that of WCAG 2.2, success criterion 1.4.3: at least 4.5 to 1 for text. Whatever colour
//! the file names, it must never make a button or a link that cannot be read.

use std::fmt::Write as _;

use crate::config::Colour;

const BLACK: Colour = Colour {
    red: 0,
    green: 0,
    blue: 0,
};
const WHITE: Colour = Colour {
    red: 255,
    green: 255,
    blue: 255,
};

/// What is behind text in the light and in the dark: the cards and the page, as the stylesheet has them.
const LIGHT: [Colour; 2] = [
    WHITE,
    Colour {
        red: 0xf3,
        green: 0xf4,
        blue: 0xf1,
    },
];
const DARK: [Colour; 2] = [
    Colour {
        red: 0x1c,
        green: 0x20,
        blue: 0x22,
    },
    Colour {
        red: 0x12,
        green: 0x15,
        blue: 0x16,
    },
];

/// The colours of one scheme.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    /// Buttons.
    pub(super) accent: Colour,
    /// Buttons under the pointer.
    hover: Colour,
    /// The text on both.
    pub(super) on_accent: Colour,
    /// Links, focus, and the edges of what is chosen.
    link: Colour,
    /// A quiet ground in which the colour is felt.
    tint: Colour,
}

impl Palette {
    pub(super) fn light(colour: Colour) -> Self {
        Self::new(colour, LIGHT, BLACK)
    }

    /// On a dark page a dark button would not be seen.
    pub(super) fn dark(colour: Colour) -> Self {
        let seen = towards(colour, WHITE, |accent| {
            DARK.iter().all(|below| contrast(accent, *below) >= 3.0)
        });
        Self::new(seen, DARK, WHITE)
    }

    fn new(accent: Colour, below: [Colour; 2], ink: Colour) -> Self {
        let on_accent = if contrast(accent, WHITE) >= contrast(accent, BLACK) {
            WHITE
        } else {
            BLACK
        };
        let away = if on_accent == WHITE { BLACK } else { WHITE };
        let [card, page] = below;
        let tint = mixed(card, accent, 0.1);
        let link = towards(accent, ink, |link| {
            [card, page, tint]
                .iter()
                .all(|below| contrast(link, *below) >= 4.6)
        });
        Self {
            accent,
            hover: mixed(accent, away, 0.14),
            on_accent,
            link,
            tint,
        }
    }

    /// As custom properties.
    pub(super) fn declarations(&self) -> String {
        let mut text = String::new();
        for (name, colour) in [
            ("accent", self.accent),
            ("accent-hover", self.hover),
            ("on-accent", self.on_accent),
            ("link", self.link),
            ("tint", self.tint),
        ] {
            // Writing to a string does not fail.
            let _ = write!(text, "--{name}:{};", hex(colour));
        }
        text
    }
}

/// As the stylesheet and the icon write it.
pub(super) fn hex(colour: Colour) -> String {
    let Colour { red, green, blue } = colour;
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// The first step from one colour to another that is good enough.
fn towards(from: Colour, to: Colour, is_enough: impl Fn(Colour) -> bool) -> Colour {
    let steps = (0..=40_u8).map(|step| mixed(from, to, f64::from(step) / 40.0));
    let mut enough = steps.skip_while(|colour| !is_enough(*colour));
    enough.next().unwrap_or(to)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what lies between two bytes is one"
)]
fn mixed(from: Colour, to: Colour, share: f64) -> Colour {
    let channel =
        |from: u8, to: u8| (f64::from(from) * (1.0 - share) + f64::from(to) * share).round() as u8;
    Colour {
        red: channel(from.red, to.red),
        green: channel(from.green, to.green),
        blue: channel(from.blue, to.blue),
    }
}

fn contrast(one: Colour, other: Colour) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// Relative luminance, as WCAG 2.2 defines it.
fn luminance(colour: Colour) -> f64 {
    let channel = |value: u8| {
        let value = f64::from(value) / 255.0;
        if value <= 0.04045 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055).powf(2.4)
        }
    };
    0.2126 * channel(colour.red) + 0.7152 * channel(colour.green) + 0.0722 * channel(colour.blue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrast_is_that_of_the_recommendation() {
        assert!((contrast(BLACK, WHITE) - 21.0).abs() < 0.001);
        let grey = Colour {
            red: 0x77,
            green: 0x77,
            blue: 0x77,
        };
        assert!((contrast(grey, WHITE) - 4.48).abs() < 0.01);
    }

    // SECURITY 46
    #[test]
    fn every_colour_makes_buttons_and_links_that_can_be_read() {
        let bytes = [0, 1, 40, 64, 100, 119, 128, 160, 200, 230, 254, 255];
        for red in bytes {
            for green in bytes {
                for blue in bytes {
                    let colour = Colour { red, green, blue };
                    for (palette, below) in [
                        (Palette::light(colour), LIGHT),
                        (Palette::dark(colour), DARK),
                    ] {
                        assert!(
                            contrast(palette.accent, palette.on_accent) >= 4.5,
                            "{palette:?}"
                        );
                        assert!(
                            contrast(palette.hover, palette.on_accent) >= 4.5,
                            "{palette:?}"
                        );
                        for below in below.into_iter().chain([palette.tint]) {
                            assert!(contrast(palette.link, below) >= 4.5, "{palette:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_grounds_are_those_of_the_stylesheet() {
        let style = include_str!("../../templates/style.css");
        for ground in LIGHT.into_iter().chain(DARK) {
            assert!(style.contains(&hex(ground)), "{}", hex(ground));
        }
    }
}
