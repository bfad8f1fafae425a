//! Debian's Chromium, driven by scripts in `tests/it/browser`, which are told in JSON and answer in JSON.

use std::io::Seek as _;
use std::io::SeekFrom;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use crate::harness::goes_without;

/// A script looks at many pages; however busy the machine is, it needs no longer.
const PATIENCE: Duration = Duration::from_secs(300);

/// A script that is killed if nobody waits for it any more.
struct Script(Child);

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a script with what it is told on its standard input: its answer, or nothing where there is no
/// browser, which is said aloud.
pub(crate) async fn browse(script: &str, told: &Value) -> Option<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/browser");
    if !Path::new("/usr/bin/chromium").exists() {
        goes_without("Chromium");
        return None;
    }
    let has_modules = ["playwright-core", "axe-core"]
        .iter()
        .all(|name| folder.join("node_modules").join(name).exists());
    let node = Command::new("node").arg("--version").output();
    if !has_modules || !node.is_ok_and(|node| node.status.success()) {
        goes_without("Node.js with playwright-core and axe-core");
        return None;
    }
    let mut input = tempfile::tempfile().unwrap();
    input.write_all(told.to_string().as_bytes()).unwrap();
    input.seek(SeekFrom::Start(0)).unwrap();
    let said = tempfile::NamedTempFile::new().unwrap();
    let child = Command::new("node")
        .arg(folder.join(script))
        .env_remove("http_proxy")
        .env_remove("https_proxy")
        .stdin(Stdio::from(input))
        .stdout(said.reopen().unwrap())
        .spawn()
        .unwrap();
    let mut child = Script(child);
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "waited in vain for {script}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(status.success(), "{script} failed");
    let answer = std::fs::read_to_string(said.path()).unwrap();
    Some(serde_json::from_str(&answer).unwrap())
}

/// Where scripts put what they saw, for people to look at.
pub(crate) fn screenshots() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots")
}
