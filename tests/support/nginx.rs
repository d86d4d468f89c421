//! A real nginx of the test's own: a temporary prefix, a free port, stopped when dropped.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{free_port, server_variable, wait_until};

/// The nginx binary.
pub(crate) fn nginx_binary() -> PathBuf {
    server_variable(&["ROLLBACK_TEST_NGINX"]).into()
}

/// A running nginx. `nginx -p PREFIX -c nginx.conf -s reload` works on it: the master writes `nginx.pid`.
pub(crate) struct Nginx {
    prefix: TempDir,
    port: u16,
    master: Child,
}

impl Nginx {
    /// Starts nginx with one configuration file in `conf.d`: `site` makes its text from the port to listen on.
    pub(crate) fn start(site: impl FnOnce(u16) -> String) -> Self {
        let prefix = tempfile::Builder::new()
            .prefix("rollback-nginx-")
            .tempdir()
            .expect("the temporary folder is writable");
        let port = free_port();
        std::fs::create_dir(prefix.path().join("conf.d")).expect("the prefix is writable");
        std::fs::write(prefix.path().join("nginx.conf"), main_configuration())
            .expect("the prefix is writable");
        std::fs::write(prefix.path().join("conf.d/site.conf"), site(port))
            .expect("the prefix is writable");
        let master = in_prefix(prefix.path())
            .args(["-g", "daemon off;"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx can be started");
        let mut nginx = Self { prefix, port, master };
        nginx.wait_until_it_answers();
        nginx
    }

    /// The port that the site listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The file with the site's configuration.
    pub(crate) fn site(&self) -> PathBuf {
        self.prefix.path().join("conf.d/site.conf")
    }

    /// The command line that tests or reloads this instance, to which `-t` or `-s reload` is added.
    pub(crate) fn command(&self) -> Command {
        in_prefix(self.prefix.path())
    }

    fn wait_until_it_answers(&mut self) {
        let (port, log) = (self.port, self.prefix.path().join("error.log"));
        let master = &mut self.master;
        wait_until("nginx answering", || {
            if let Some(status) = master.try_wait().expect("nginx can be waited for") {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                panic!("nginx ended with {status}:\n{log}");
            }
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
    }
}

impl Drop for Nginx {
    /// `-s stop` ends the workers with the master; killing the master would leave them behind.
    fn drop(&mut self) {
        let stopped = self.command().args(["-s", "stop"]).status();
        let ended = match stopped {
            Ok(status) if status.success() => self.master.wait(),
            _ => self.master.kill().and_then(|()| self.master.wait()),
        };
        if let Err(error) = ended
            && !std::thread::panicking()
        {
            panic!("failed to stop nginx: {error}");
        }
    }
}

fn in_prefix(prefix: &Path) -> Command {
    let mut command = Command::new(nginx_binary());
    command.arg("-p").arg(prefix).args(["-e", "error.log", "-c", "nginx.conf"]);
    command
}

/// Relative paths are below the prefix, so that nothing outside of it is written.
fn main_configuration() -> String {
    let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
    format!(
        "{user}
worker_processes 1;
pid nginx.pid;
error_log error.log notice;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path tmp-body;
  proxy_temp_path tmp-proxy;
  fastcgi_temp_path tmp-fastcgi;
  uwsgi_temp_path tmp-uwsgi;
  scgi_temp_path tmp-scgi;
  include conf.d/*.conf;
}}
"
    )
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn site(answer: &'static str) -> impl Fn(u16) -> String {
        move |port| {
            format!("server {{ listen 127.0.0.1:{port}; location / {{ return 200 {answer}; }} }}")
        }
    }

    fn answer(port: u16) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("nginx listens");
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            .expect("the request is sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("the answer is read");
        text.lines().last().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_real_nginx_serves_reloads_and_stops() {
        let nginx = Nginx::start(site("blue"));
        let port = nginx.port();
        assert_eq!(answer(port), "blue");

        std::fs::write(nginx.site(), site("green")(port)).expect("the site is writable");
        let reloaded = nginx.command().args(["-s", "reload"]).status().expect("nginx runs");
        assert!(reloaded.success());
        wait_until("the new configuration", || answer(port) == "green");

        drop(nginx);
        wait_until("the port closing", || TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}
