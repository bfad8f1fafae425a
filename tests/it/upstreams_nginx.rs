//! Debian's nginx as an app: two of them, killed and started again while requests are under way.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use reqwest::Method;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::eventually;
use crate::harness::gateway::Folder;
use crate::harness::gateway::Gateway;
use crate::harness::goes_without;

const NGINX: &str = "/usr/sbin/nginx";

/// One nginx in one process, on a port that stays its own.
struct Nginx {
    folder: Folder,
    address: SocketAddr,
    process: Option<Child>,
}

impl Nginx {
    async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let folder = Folder::new();
        let here = folder.root().display();
        folder.write(
            "nginx.conf",
            &format!(
                r#"
                daemon off;
                master_process off;
                pid {here}/pid;
                error_log {here}/error.log;
                events {{}}
                http {{
                    access_log off;
                    client_body_temp_path {here}/body;
                    proxy_temp_path {here}/proxy;
                    fastcgi_temp_path {here}/fastcgi;
                    uwsgi_temp_path {here}/uwsgi;
                    scgi_temp_path {here}/scgi;
                    keepalive_requests 20;
                    server {{
                        listen {address};
                        location / {{ return 200 "{name}"; }}
                    }}
                }}
                "#
            ),
        );
        let mut nginx = Self {
            folder,
            address,
            process: None,
        };
        nginx.run().await;
        nginx
    }

    async fn run(&mut self) {
        let process = Command::new(NGINX)
            .arg("-p")
            .arg(self.folder.root())
            .args(["-e", "error.log", "-c", "nginx.conf"])
            .stdin(Stdio::null())
            .spawn();
        self.process = Some(process.unwrap());
        eventually("nginx to listen", async || {
            TcpStream::connect(self.address).await.ok()
        })
        .await;
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Callers that ask without pause, and what they were answered.
#[derive(Clone, Default)]
struct Load {
    answers: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
}

impl Load {
    async fn put_on(self, caller: Caller) {
        let methods = [Method::GET, Method::HEAD, Method::OPTIONS, Method::DELETE];
        for method in methods.iter().cycle() {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let answer = Answer::of(caller.request(method.clone(), "/app")).await;
            let text = match answer.status {
                200 => answer.text().to_owned(),
                // nginx answers so where nothing but `return` is configured.
                405 => String::new(),
                _ => format!("{method}: {answer:?}"),
            };
            self.answers.lock().unwrap().push(text);
        }
    }

    /// Waits until this many answers more have come from an app.
    async fn until_answered_by(&self, name: &str, more: usize) {
        let from = self.answers.lock().unwrap().len();
        eventually("answers", async || {
            let answers = self.answers.lock().unwrap();
            let count = answers[from..]
                .iter()
                .filter(|answer| *answer == name)
                .count();
            (count >= more).then_some(())
        })
        .await;
    }
}

// SECURITY 53
#[tokio::test(flavor = "multi_thread")]
async fn nginx_may_be_killed_and_started_again_and_no_idempotent_request_fails() {
    if !Path::new(NGINX).exists() {
        return goes_without("nginx");
    }
    let (mut one, mut other) = (Nginx::start("one").await, Nginx::start("other").await);
    let gateway = Gateway::start(&format!(
        r#"
        limits.per_address = "off"
        [upstreams.app]
        targets = ["http://{}", "http://{}"]
        health = {{ path = "/", interval = "100ms" }}
        ejection.time = "200ms"
        slow_start = "1s"
        [routes.app]
        path = "/app"
        auth = "none"
        upstream = "app"
        "#,
        one.address, other.address
    ));
    let load = Load::default();
    let over_both = [Gateway::anonymous, Gateway::anonymous_http2];
    let callers = (0..4).flat_map(|_| over_both.map(|caller| caller(&gateway)));
    let callers: Vec<_> = callers
        .map(|caller| tokio::spawn(load.clone().put_on(caller)))
        .collect();
    for _ in 0..2 {
        for (down, up) in [(&mut one, "other"), (&mut other, "one")] {
            let name = if up == "one" { "other" } else { "one" };
            load.until_answered_by(name, 50).await;
            load.until_answered_by(up, 50).await;
            down.kill();
            load.until_answered_by(up, 200).await;
            down.run().await;
        }
    }
    load.until_answered_by("other", 50).await;
    load.is_over.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    let answers = load.answers.lock().unwrap();
    let failed: Vec<_> = answers
        .iter()
        .filter(|answer| !["", "one", "other"].contains(&&***answer))
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {}: {failed:#?}",
        failed.len(),
        answers.len()
    );
}
