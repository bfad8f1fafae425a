//! The built binary: exit codes, signals, and ends without warning.

use std::io::BufRead as _;
use std::io::BufReader;
use std::net::SocketAddr;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;

use crate::harness::PATIENCE;
use crate::harness::caller::Caller;
use crate::harness::caller::Protocol;
use crate::harness::gateway::Folder;
use crate::harness::install_crypto;

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs one command in a folder to its end.
pub(crate) fn portcullis(folder: &Folder, arguments: &[&str]) -> Output {
    let output = command(folder, arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Output {
        code: output.status.code().expect("no signal ended it"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// As [`portcullis`], with a text on standard input.
pub(crate) fn portcullis_reading(folder: &Folder, arguments: &[&str], input: &str) -> Output {
    // A file cannot fill up as a pipe can.
    folder.write("stdin", input);
    let input = std::fs::File::open(folder.path("stdin")).unwrap();
    let output = command(folder, arguments).stdin(input).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Output {
        code: output.status.code().expect("no signal ended it"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

impl Output {
    /// Insists on an exit code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// `portcullis serve`, ready to take requests. It is killed when it is dropped.
pub(crate) struct Served {
    child: Child,
    address: SocketAddr,
    said: Vec<String>,
    folder: Folder,
}

impl Served {
    /// Starts it and waits until it has said where it listens.
    pub(crate) fn start(folder: &Folder) -> Self {
        let mut child = command(folder, &["serve"]).spawn().unwrap();
        // Anything after the greeting goes nowhere; the pipe is far from full by then.
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = Vec::new();
        let mut address = None;
        for line in stderr.lines() {
            let line = line.unwrap();
            if let Some(listener) = line.strip_prefix("listen https://") {
                address = listener.parse().ok();
            }
            let is_last = line.starts_with("route ");
            said.push(line);
            if is_last {
                break;
            }
        }
        let Some(address) = address else {
            let status = child.wait();
            panic!("it did not start: {status:?} {said:?}");
        };
        Self {
            child,
            address,
            said,
            folder: folder.clone(),
        }
    }

    /// What it said on the terminal, up to the first route.
    pub(crate) fn said(&self) -> &[String] {
        &self.said
    }

    /// Somebody without a credential.
    pub(crate) fn anonymous(&self) -> Caller {
        install_crypto();
        let authority = std::fs::read(self.folder.path("certs/ca.pem")).unwrap();
        Caller::new(self.address, &authority, Protocol::Http1)
    }

    /// Where it speaks HTTPS.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it without warning.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &Folder, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command
        .args(arguments)
        .current_dir(folder.root())
        .env_remove("PORTCULLIS_CONFIG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}
