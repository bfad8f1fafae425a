//! The built binary: exit codes, signals, and ends without warning.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::Signal;
use rustix::process::geteuid;
use rustix::process::getrlimit;
use rustix::process::kill_process;
use rustix::process::prlimit;

use crate::harness::PATIENCE;
use crate::harness::caller::Caller;
use crate::harness::caller::Protocol;
use crate::harness::eventually;
use crate::harness::gateway::Folder;
use crate::harness::gateway::ask_plainly;
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
    ended(&mut command(folder, arguments))
}

/// As [`portcullis`], with a text on standard input.
pub(crate) fn portcullis_reading(folder: &Folder, arguments: &[&str], input: &str) -> Output {
    folder.write("stdin", input);
    let input = fs::File::open(folder.path("stdin")).unwrap();
    ended(command(folder, arguments).stdin(input))
}

/// As [`portcullis`], held to the permissions of files even where root runs the tests.
pub(crate) fn portcullis_unprivileged(folder: &Folder, arguments: &[&str]) -> Output {
    let plain = command(folder, arguments);
    if !geteuid().is_root() {
        return ended(&mut { plain });
    }
    let mut held = Command::new("setpriv");
    held.args(["--bounding-set", "-dac_override,-dac_read_search"])
        .arg(plain.get_program())
        .args(plain.get_args())
        .current_dir(folder.root());
    ended(piped(&mut held))
}

/// As [`portcullis`], on a disk that takes no more than this many bytes of a file.
pub(crate) fn portcullis_on_full_disk(folder: &Folder, arguments: &[&str], bytes: u64) -> Output {
    let mut held = Command::new("prlimit");
    held.arg(format!("--fsize={bytes}:unlimited"))
        .arg(env!("CARGO_BIN_EXE_portcullis"))
        .args(arguments)
        .current_dir(folder.root());
    ended(piped(&mut held))
}

/// A command that serves where it should refuse must fail its test, not stop it.
fn ended(command: &mut Command) -> Output {
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it does not end: {:?}", child.wait_with_output());
        }
        thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
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
    folder: Folder,
}

impl Served {
    /// Starts it and waits until it has said where it listens.
    pub(crate) async fn start(folder: &Folder) -> Self {
        let started = Self::try_start(folder).await;
        started.unwrap_or_else(|said| panic!("it did not start: {said}"))
    }

    /// As [`Served::start`]; what it said, where it ended instead.
    pub(crate) async fn try_start(folder: &Folder) -> Result<Self, String> {
        let file = fs::read_to_string(folder.path("gateway.toml")).unwrap();
        let has_routes = file.contains("[routes");
        let to_file = |name| fs::File::create(folder.path(name)).unwrap();
        let mut child = command(folder, &["serve"])
            .stdout(to_file("stdout"))
            .stderr(to_file("stderr"))
            .spawn()
            .unwrap();
        let listening = eventually("the gateway to say where it listens", async || {
            let status = child.try_wait().unwrap();
            let said = fs::read_to_string(folder.path("stderr")).unwrap();
            if let Some(status) = status {
                return Some(Err(format!("{status}: {said}")));
            }
            // The routes come after the listeners: all of those are there by then. Without routes there is
            // one listener.
            let last = if has_routes {
                "\nroute "
            } else {
                "listen https://"
            };
            let whole = said.rfind('\n').map_or("", |end| &said[..end]);
            whole.contains(last).then_some(Ok(said))
        });
        let said = listening.await?;
        let address = said
            .lines()
            .find_map(|line| line.strip_prefix("listen https://"));
        let address = address.unwrap().parse().unwrap();
        Ok(Self {
            child,
            address,
            folder: folder.clone(),
        })
    }

    /// What it has said on the terminal.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.folder.path("stderr")).unwrap()
    }

    /// Somebody without a credential.
    pub(crate) fn anonymous(&self) -> Caller {
        install_crypto();
        let authority = fs::read(self.folder.path("certs/ca.pem")).unwrap();
        Caller::new(self.address, &authority, Protocol::Http1)
    }

    /// Where it speaks HTTPS.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `GET` of its admin listener: status and body.
    pub(crate) fn ask_admin(&self, path: &str) -> (u16, String) {
        let said = self.said();
        let mut lines = said.lines();
        let admin = lines.find_map(|line| line.strip_prefix("admin  http://"));
        let address = admin.unwrap().split('/').next().unwrap();
        ask_plainly(address.parse().unwrap(), path)
    }

    /// Lets no file grow beyond so many bytes: writing then fails as on a full disk. `None` makes
    /// room again.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        let limit = Rlimit {
            current: bytes,
            maximum: None,
        };
        prlimit(Some(self.id()), Resource::Fsize, limit).unwrap();
    }

    /// Lets it open nothing more: the limit is the number that the next descriptor would have, which is
    /// the lowest that is free.
    pub(crate) fn allow_no_descriptor_more(&self) {
        let open = format!("/proc/{}/fd", self.child.id());
        let names = fs::read_dir(open)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let open: HashSet<u64> = names
            .map(|name| name.to_str().unwrap().parse().unwrap())
            .collect();
        let free = (0..).find(|number| !open.contains(number));
        self.limit_descriptors(free);
    }

    /// Makes room again.
    pub(crate) fn allow_descriptors(&self) {
        self.limit_descriptors(getrlimit(Resource::Nofile).current);
    }

    /// From here on, [`Served::memory_peak`] is about what comes.
    pub(crate) fn forget_memory_peak(&self) {
        // proc_pid_clear_refs(5): the peak becomes what there is now.
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    /// How much memory it had at its largest, in KiB.
    pub(crate) fn memory_peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let mut lines = status.lines();
        let peak = lines.find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.unwrap().trim().trim_end_matches(" kB");
        peak.parse().unwrap()
    }

    fn limit_descriptors(&self, current: Option<u64>) {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit { current, maximum };
        prlimit(Some(self.id()), Resource::Nofile, limit).unwrap();
    }

    fn id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    /// Ends it without warning.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        eventually("the end of the gateway", async || {
            self.child.try_wait().unwrap()
        })
        .await
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
    command.args(arguments).current_dir(folder.root());
    piped(&mut command);
    command
}

fn piped(command: &mut Command) -> &mut Command {
    command
        .env_remove("PORTCULLIS_CONFIG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
}
