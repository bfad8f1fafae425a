//! Programs that are no part of this: Python with Debian's modules, and curl.

use std::fs;
use std::io::Write as _;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use serde_json::Value;
use tempfile::NamedTempFile;

use crate::harness::eventually;

/// The Python that Debian's modules belong to.
const PYTHON: &str = "/usr/bin/python3";

/// One that runs, and what it says. It is killed when it is dropped.
pub(crate) struct Program {
    child: Child,
    said: NamedTempFile,
}

impl Program {
    /// Starts it. Its standard input stays open for as long as it is kept.
    pub(crate) fn start(command: &mut Command) -> Self {
        let said = NamedTempFile::new().unwrap();
        let child = command
            .env_remove("http_proxy")
            .env_remove("https_proxy")
            .stdin(Stdio::piped())
            .stdout(said.reopen().unwrap())
            .spawn()
            .unwrap();
        Self { child, said }
    }

    /// Starts a script that is beside the tests.
    pub(crate) fn python(script: &str, arguments: &[&str]) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/");
        let mut command = Command::new(PYTHON);
        Self::start(command.arg(format!("{folder}{script}")).args(arguments))
    }

    /// Whether Debian's Python is there and has this module.
    pub(crate) fn python_has(module: &str) -> bool {
        let import = format!("import {module}");
        let tried = Command::new(PYTHON).args(["-c", &import]).output();
        tried.is_ok_and(|output| output.status.success())
    }

    /// All that it has said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.said.path()).unwrap()
    }

    /// The whole lines so far that are meant.
    pub(crate) fn lines(&self, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
        let said = self.said();
        let whole = said
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'));
        whole
            .filter(|line| is_meant(line))
            .map(str::to_owned)
            .collect()
    }

    /// The first of them, once it is there.
    pub(crate) async fn line(&self, is_meant: impl Fn(&str) -> bool) -> String {
        eventually("a line of a program", async || {
            self.lines(&is_meant).into_iter().next()
        })
        .await
    }

    /// Says something to it in a line of JSON.
    pub(crate) fn tell(&mut self, what: &Value) {
        let mut stdin = self.child.stdin.as_ref().unwrap();
        // One that has ended hears nothing; whoever waits for what it says next will see that.
        let _ = writeln!(stdin, "{what}");
    }

    /// The line after so many, once it is there; one that ends without it has failed.
    pub(crate) async fn next(&mut self, after: usize) -> String {
        eventually("the next line of a program", async || {
            // In this order: what it said before its end is there after it.
            let ended = self.child.try_wait().unwrap();
            let line = self.lines(|_| true).into_iter().nth(after);
            assert!(line.is_some() || ended.is_none(), "it has ended: {ended:?}");
            line
        })
        .await
    }

    /// Says that no more comes, and waits for its end: whether it ended well.
    pub(crate) async fn ended(&mut self) -> bool {
        drop(self.child.stdin.take());
        eventually("the end of a program", async || {
            self.child.try_wait().unwrap()
        })
        .await
        .success()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
