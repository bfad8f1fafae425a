//! curl, and what came to it: every head of an answer, its body, its trailers.

use std::fs;
use std::io::Write as _;
use std::process::Command;
use std::process::Stdio;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;

use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::gateway::Folder;
use crate::harness::gateway::Gateway;

/// Which protocol curl is to insist on.
pub(crate) const PROTOCOLS: [&str; 2] = ["--http1.1", "--http2"];

/// What came of one call.
#[derive(Debug)]
pub(crate) struct Told {
    /// The statuses of what came before the answer: 100, 103.
    pub(crate) before: Vec<u16>,
    pub(crate) answer: Answer,
    pub(crate) trailers: HeaderMap,
    /// The bytes of a body that curl sent, and of what frames it.
    pub(crate) sent: usize,
}

/// A command that asks the gateway for `path`, as `caller` where there is one.
pub(crate) fn command(
    gateway: &Gateway,
    caller: Option<&Caller>,
    path: &str,
    arguments: &[&str],
) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
        .arg(gateway.folder().path("certs/ca.pem"))
        .args(arguments)
        .env_remove("https_proxy");
    if let Some(caller) = caller {
        let bearer = format!("Authorization: Bearer {}", caller.token());
        curl.args(["--header", &bearer]);
    }
    let port = gateway.address().port();
    curl.arg(format!("https://localhost:{port}{path}"));
    curl
}

/// Asks with `upload` on standard input, and reads what is answered to its end.
pub(crate) async fn curl(
    gateway: &Gateway,
    caller: Option<&Caller>,
    path: &str,
    arguments: &[&str],
    upload: &[u8],
) -> Told {
    let folder = Folder::new();
    let (heads, body) = (folder.path("heads"), folder.path("body"));
    folder.write("body", "");
    let mut curl = command(gateway, caller, path, arguments);
    curl.arg("--dump-header").arg(&heads);
    curl.arg("--output").arg(&body);
    curl.args(["--write-out", "%{size_upload}"]);
    curl.stdin(Stdio::piped()).stdout(Stdio::piped());
    let upload = upload.to_owned();
    let said = tokio::task::spawn_blocking(move || {
        let mut asking = curl.spawn().unwrap();
        // curl that was refused reads no more of it.
        let _ = asking.stdin.take().unwrap().write_all(&upload);
        asking.wait_with_output().unwrap()
    });
    let said = said.await.unwrap();
    assert!(said.status.success(), "{path} {arguments:?}: {said:?}");
    let mut told = read(&fs::read_to_string(heads).unwrap());
    told.answer.body = fs::read(body).unwrap().into();
    told.sent = String::from_utf8(said.stdout).unwrap().parse().unwrap();
    told
}

/// The heads as curl writes them down, one after the other, and what came after the last of them.
fn read(dump: &str) -> Told {
    let mut blocks: Vec<_> = dump.split("\r\n\r\n").collect();
    let trailers = fields(blocks.pop().unwrap_or_default().lines());
    let mut heads = blocks.into_iter().map(|block| {
        let (first, rest) = block.split_once("\r\n").unwrap_or((block, ""));
        let status = first.split(' ').nth(1).map(str::parse);
        (status.unwrap().unwrap(), fields(rest.lines()))
    });
    let (status, headers) = heads.next_back().unwrap();
    Told {
        before: heads.map(|(status, _)| status).collect(),
        answer: Answer {
            status,
            headers,
            body: bytes::Bytes::new(),
        },
        trailers,
        sent: 0,
    }
}

fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> HeaderMap {
    let fields = lines.filter_map(|line| line.split_once(':'));
    fields
        .map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value.trim()).unwrap())
        })
        .collect()
}
