//! Debian's Caddy, in front of an app.

use std::fs::File;
use std::net::SocketAddr;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use tokio::net::TcpListener;
use tokio::net::TcpStream;

use crate::harness::eventually;
use crate::harness::gateway::Folder;

/// One Caddy on a port that stays its own. It is killed when it is dropped.
pub(crate) struct Caddy {
    address: SocketAddr,
    process: Child,
}

impl Caddy {
    /// Whether there is one to start.
    pub(crate) fn is_there() -> bool {
        let version = Command::new("caddy").arg("version").output();
        version.is_ok_and(|output| output.status.success())
    }

    /// Starts one with these sites, in which its port is told; all that it writes is in the folder.
    pub(crate) async fn start(folder: &Folder, sites: impl FnOnce(SocketAddr) -> String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let root = folder.root();
        let options = "{\n\tadmin off\n\tauto_https disable_redirects\n\
                       \tdefault_bind 127.0.0.1\n\tservers {\n\t\tprotocols h1 h2\n\t}\n}\n";
        folder.write("Caddyfile", &format!("{options}{}", sites(address)));
        let log = File::create(folder.path("caddy.log")).unwrap();
        let process = Command::new("caddy")
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(folder.path("Caddyfile"))
            .env("HOME", root)
            .env("XDG_CONFIG_HOME", root.join("config"))
            .env("XDG_DATA_HOME", root.join("data"))
            .env_remove("http_proxy")
            .env_remove("https_proxy")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut caddy = Self { address, process };
        eventually("Caddy to listen", async || {
            if let Some(status) = caddy.process.try_wait().unwrap() {
                let said = std::fs::read_to_string(folder.path("caddy.log"));
                panic!("{status}: {}", said.unwrap_or_default());
            }
            TcpStream::connect(address).await.ok()
        })
        .await;
        caddy
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Caddy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
