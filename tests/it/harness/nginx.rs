//! Debian's nginx, as an app or in front of one.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use tokio::net::TcpListener;
use tokio::net::TcpStream;

use crate::harness::eventually;
use crate::harness::gateway::Folder;

const NGINX: &str = "/usr/sbin/nginx";

/// One nginx in one process, on a port that stays its own. It is killed when it is dropped.
pub(crate) struct Nginx {
    folder: Folder,
    address: SocketAddr,
    process: Option<Child>,
}

impl Nginx {
    /// Whether there is one to start.
    pub(crate) fn is_there() -> bool {
        Path::new(NGINX).exists()
    }

    /// Starts one in a folder that has the files it needs: its port speaks as `listen` says (`ssl http2`), and
    /// its one server has these lines.
    pub(crate) async fn start(folder: &Folder, listen: &str, server: &str) -> Self {
        let http = |address| {
            format!("keepalive_requests 20; server {{ listen {address} {listen}; {server} }}")
        };
        Self::start_with(folder, http).await
    }

    /// As [`Nginx::start`], with all that stands in its `http`, where its port is told.
    pub(crate) async fn start_with(
        folder: &Folder,
        http: impl FnOnce(SocketAddr) -> String,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let here = folder.root().display();
        folder.write("asked", "");
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
                    log_format asked "$request";
                    access_log {here}/asked asked;
                    client_body_temp_path {here}/body;
                    proxy_temp_path {here}/proxy;
                    fastcgi_temp_path {here}/fastcgi;
                    uwsgi_temp_path {here}/uwsgi;
                    scgi_temp_path {here}/scgi;
                    {}
                }}
                "#,
                http(address)
            ),
        );
        let mut nginx = Self {
            folder: folder.clone(),
            address,
            process: None,
        };
        nginx.run().await;
        nginx
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The first line of each request that it has answered, once there are so many.
    pub(crate) async fn asked(&self, count: usize) -> Vec<String> {
        eventually("nginx to have been asked", async || {
            let asked = std::fs::read_to_string(self.folder.path("asked")).unwrap();
            let asked: Vec<_> = asked.lines().map(str::to_owned).collect();
            (asked.len() >= count).then_some(asked)
        })
        .await
    }

    /// Runs it, again where it was killed.
    pub(crate) async fn run(&mut self) {
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

    /// Ends it without warning.
    pub(crate) fn kill(&mut self) {
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
