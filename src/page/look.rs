//! The look of all pages: the house's name, its stylesheet, icon and logo, made once at start.
//!
//! Each file's name holds a hash of its content, so that browsers keep it for ever and never an old one.
//! It must never serve a picture that could run a script.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::PathBuf;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::HeaderValue;
use http::Response;
use http::header;

use crate::config::Brand;
use crate::config::Logo;
use crate::config::LogoKind;
use crate::page::palette::Palette;
use crate::page::palette::hex;

const STYLE: &str = include_str!("../../templates/style.css");
const ICON: &str = include_str!("../../templates/icon.svg");

/// A logo is a picture of a few kilobytes; 256 KiB is plenty.
const LOGO_BYTES_MAX: u64 = 256 << 10;

/// What all pages have in common.
#[derive(Clone, Debug)]
pub struct Look {
    name: String,
    style: Asset,
    icon: Asset,
    logo: Option<Asset>,
}

/// One file of ours.
#[derive(Clone, Debug)]
pub struct Asset {
    href: String,
    kind: HeaderValue,
    content: Bytes,
}

/// Why a logo cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The file cannot be read.
    #[error("{path}: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// It is too large.
    #[error("{0} is larger than 256 KiB; take a smaller picture")]
    Large(PathBuf),
    /// It is not what its name says.
    #[error("{0} does not hold what its name says; save it again as an SVG or PNG")]
    Kind(PathBuf),
}

impl Look {
    /// Reads the logo and writes the stylesheet. `folder` is the path below which the files are served.
    ///
    /// # Errors
    ///
    /// Where the logo cannot be shown.
    pub fn new(folder: &str, brand: &Brand) -> Result<Self, Unreadable> {
        let light = Palette::light(brand.colour);
        let dark = Palette::dark(brand.colour);
        let style = format!(
            ":root{{{}}}\n@media (prefers-color-scheme:dark){{:root{{{}}}}}\n{STYLE}",
            light.declarations(),
            dark.declarations(),
        );
        let icon = ICON
            .replace("ACCENT", &hex(light.accent))
            .replace("INK", &hex(light.on_accent));
        let asset = |name: &str, extension: &str, kind: &'static str, content: Bytes| Asset {
            href: format!("{folder}/{name}-{}.{extension}", hash(&content)),
            kind: HeaderValue::from_static(kind),
            content,
        };
        let logo = brand.logo.as_ref().map(|logo| {
            let content = read(logo)?;
            Ok(match logo.kind {
                LogoKind::Svg => asset("logo", "svg", "image/svg+xml", content),
                LogoKind::Png => asset("logo", "png", "image/png", content),
            })
        });
        Ok(Self {
            name: brand.name.clone(),
            style: asset("style", "css", "text/css; charset=utf-8", style.into()),
            icon: asset("icon", "svg", "image/svg+xml", icon.into()),
            logo: logo.transpose()?,
        })
    }

    /// What pages call the house.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stylesheet of all pages.
    pub fn style(&self) -> &Asset {
        &self.style
    }

    /// The picture in the browser's tab, and beside the name.
    pub fn icon(&self) -> &Asset {
        &self.icon
    }

    /// The picture in place of the name.
    pub fn logo(&self) -> Option<&Asset> {
        self.logo.as_ref()
    }

    /// The file at this path of a URL, exactly; other versions of it are not there.
    pub fn asset(&self, path: &str) -> Option<&Asset> {
        let assets = [&self.style, &self.icon].into_iter().chain(&self.logo);
        assets.into_iter().find(|asset| asset.href == path)
    }
}

impl Asset {
    /// The path of its URL.
    pub fn href(&self) -> &str {
        &self.href
    }

    /// The answer that is this file. An SVG that is opened by itself is a document: the sandbox keeps
    /// its scripts from running (SECURITY 46).
    pub fn answer<B: From<Bytes>>(&self) -> Response<B> {
        let mut response = Response::new(B::from(self.content.clone()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, self.kind.clone());
        for (name, value) in [
            (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (
                header::CONTENT_SECURITY_POLICY,
                "default-src 'none'; style-src 'unsafe-inline'; sandbox",
            ),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// 96 bits are enough to tell versions apart.
fn hash(content: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, content);
    let short: Vec<_> = digest.as_ref().iter().copied().take(12).collect();
    URL_SAFE_NO_PAD.encode(short)
}

fn read(logo: &Logo) -> Result<Bytes, Unreadable> {
    let path = || logo.path.clone();
    let mut content = Vec::new();
    let read = File::open(&logo.path)
        .and_then(|file| file.take(LOGO_BYTES_MAX + 1).read_to_end(&mut content))
        .map_err(|cause| Unreadable::File {
            path: path(),
            cause,
        })?;
    if read as u64 > LOGO_BYTES_MAX {
        return Err(Unreadable::Large(path()));
    }
    let is_what_it_says = match logo.kind {
        LogoKind::Svg => str::from_utf8(&content).is_ok_and(|text| text.contains("<svg")),
        LogoKind::Png => content.starts_with(b"\x89PNG\r\n\x1a\n"),
    };
    if is_what_it_says {
        Ok(content.into())
    } else {
        Err(Unreadable::Kind(path()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use crate::config::Colour;
    use crate::config::Position;

    use super::*;

    fn brand(logo: Option<(&TempDir, &str, &[u8])>) -> Brand {
        let logo = logo.map(|(folder, name, content)| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            let kind = match name.ends_with("svg") {
                true => LogoKind::Svg,
                false => LogoKind::Png,
            };
            let position = Position::default();
            Logo {
                path,
                kind,
                position,
            }
        });
        Brand {
            name: "Acme".to_owned(),
            logo,
            colour: Colour::DEFAULT,
        }
    }

    #[test]
    fn a_file_is_kept_for_ever_under_the_name_of_its_content() {
        let look = Look::new("/auth/assets", &brand(None)).unwrap();
        let mut other = brand(None);
        other.colour.red = 0xff;
        let other = Look::new("/auth/assets", &other).unwrap();
        let href = look.style().href();
        assert!(href.starts_with("/auth/assets/style-") && href.ends_with(".css"));
        assert_ne!(href, other.style().href());
        assert!(other.asset(href).is_none());

        let answer: Response<Bytes> = look.asset(href).unwrap().answer();
        let header = |name| answer.headers()[&name].to_str().unwrap();
        assert!(header(header::CACHE_CONTROL).ends_with("immutable"));
        assert_eq!(header(header::CONTENT_TYPE), "text/css; charset=utf-8");
        assert!(answer.body().starts_with(b":root{--accent:#17695b;"));
    }

    // SECURITY 46
    #[test]
    fn a_logo_cannot_run_a_script() {
        let folder = TempDir::new().unwrap();
        let svg = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";
        let look = Look::new("", &brand(Some((&folder, "a.svg", svg)))).unwrap();
        let logo = look.logo().unwrap();
        let answer: Response<Bytes> = logo.answer();
        let policy = answer.headers()[&header::CONTENT_SECURITY_POLICY].as_bytes();
        assert_eq!(
            policy,
            b"default-src 'none'; style-src 'unsafe-inline'; sandbox"
        );
        assert_eq!(answer.headers()[&header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    }

    #[test]
    fn a_logo_is_what_it_says_and_small() {
        let folder = TempDir::new().unwrap();
        let read = |name, content: &[u8]| {
            Look::new("", &brand(Some((&folder, name, content)))).map(|_| ())
        };
        assert!(read("a.png", b"\x89PNG\r\n\x1a\nand so on").is_ok());
        let refused = [
            read("b.png", b"<svg/>"),
            read("b.svg", b"<html></html>"),
            read("c.svg", &[b"<svg>".as_slice(), &[b' '; 256 << 10]].concat()),
        ];
        let told: Vec<_> = refused
            .into_iter()
            .map(|read| read.unwrap_err().to_string())
            .collect();
        assert!(told[0].contains("does not hold"), "{told:?}");
        assert!(told[1].contains("does not hold"), "{told:?}");
        assert!(told[2].contains("larger than 256 KiB"), "{told:?}");
    }

    #[test]
    fn a_logo_that_is_not_there_is_an_error() {
        let folder = TempDir::new().unwrap();
        let brand = brand(Some((&folder, "a.svg", b"<svg/>")));
        fs::remove_file(folder.path().join("a.svg")).unwrap();
        assert!(matches!(
            Look::new("", &brand),
            Err(Unreadable::File { .. })
        ));
    }
}
