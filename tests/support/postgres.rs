//! A real PostgreSQL server of the test's own, which it may kill and start again: a temporary cluster, a free port.
//!
//! `initdb` and `postgres` refuse root, so that root runs them as the user `postgres`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::certificates::Certificates;
use super::{free_port, server_variable, wait_until};

/// A running server; stopped when dropped.
pub(crate) struct Postgres {
    folder: TempDir,
    port: u16,
    server: Option<Child>,
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

fn program(name: &str) -> Command {
    let path = PathBuf::from(server_variable(&["ROLLBACK_TEST_POSTGRES_BIN"])).join(name);
    if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(path);
        return command;
    }
    Command::new(path)
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Postgres {
    /// A new cluster whose superuser `postgres` comes in without a password, every other role with its own.
    pub(crate) fn start() -> Self {
        let access =
            "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        Self::start_with(access, None)
    }

    /// A new cluster that speaks TLS as well, with these lines of `pg_hba.conf`.
    pub(crate) fn behind_tls(certificates: &Certificates, access: &str) -> Self {
        Self::start_with(access, Some(certificates))
    }

    fn start_with(access: &str, certificates: Option<&Certificates>) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("rollback-postgres-")
            .tempdir_in("/var/tmp")
            .expect("the temporary folder is writable");
        if is_root() {
            run(Command::new("chown").arg("postgres:").arg(folder.path()));
        }
        let data = folder.path().join("data");
        run(program("initdb").arg("--pgdata").arg(&data).args([
            "--username=postgres",
            "--no-sync",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
        ]));
        std::fs::write(data.join("pg_hba.conf"), access).expect("the cluster is writable");
        let mut postgres = Self { folder, port: free_port(), server: None };
        if let Some(certificates) = certificates {
            postgres.write(certificates);
            std::fs::write(data.join("postgresql.auto.conf"), "ssl = on\n").expect("the same");
        }
        postgres.up();
        postgres
    }

    /// Puts the server's certificate in its place. The key must be its own and nobody else's to read.
    fn write(&self, certificates: &Certificates) {
        for (from, to) in [("cert.pem", "server.crt"), ("key.pem", "server.key")] {
            let to = self.data().join(to);
            std::fs::copy(certificates.file(from), &to).expect("the cluster is writable");
            run(Command::new("chmod").arg("0600").arg(&to));
            if is_root() {
                run(Command::new("chown").arg("postgres:").arg(&to));
            }
        }
    }

    /// Gives the running server another certificate; new connections see it once this returns.
    pub(crate) fn certify(&self, certificates: &Certificates) {
        let loaded = || {
            let asking = self.ask("SELECT pg_conf_load_time()").output().expect("psql starts");
            asking.stdout
        };
        let before = loaded();
        self.write(certificates);
        signal(&self.data(), Signal::HUP);
        wait_until("the server to read its certificate", || {
            let now = loaded();
            !now.is_empty() && now != before
        });
    }

    /// The superuser's address.
    pub(crate) fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts the server and waits until it answers. After a kill, former processes may hold its memory for a moment.
    pub(crate) fn up(&mut self) {
        let (port, data) = (self.port.to_string(), self.data());
        wait_until("the start of postgres", || {
            let mut server = program("postgres")
                .arg("-D")
                .arg(&data)
                .args([
                    "-p",
                    &port,
                    "-c",
                    "listen_addresses=127.0.0.1",
                    "-c",
                    "unix_socket_directories=",
                ])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("postgres can be started");
            let mut ready = false;
            wait_until("an answer of postgres, or its end", || {
                ready = self.ask("SELECT 1").output().is_ok_and(|output| output.status.success());
                ready || server.try_wait().expect("it is our child").is_some()
            });
            self.server = Some(server);
            ready
        });
    }

    /// A question of the superuser's.
    fn ask(&self, sql: &str) -> Command {
        let mut psql = program("psql");
        psql.args(["--no-psqlrc", "-tAd", &self.url(), "-c", sql]).stdin(Stdio::null());
        psql
    }

    /// Makes it a standby, which waits for a primary that does not exist, and starts it again.
    pub(crate) fn become_standby(&mut self) {
        signal(&self.data(), Signal::INT);
        if let Some(mut server) = self.server.take() {
            server.wait().expect("it is our child");
        }
        std::fs::write(self.data().join("standby.signal"), "").expect("the cluster is writable");
        self.up();
    }

    /// Kills the server, as the kernel does when memory is short.
    pub(crate) fn kill(&mut self) {
        signal(&self.data(), Signal::KILL);
        if let Some(mut server) = self.server.take() {
            // `runuser` ends with its child.
            server.wait().expect("it is our child");
        }
    }
}

fn signal(data: &Path, signal: Signal) {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let pid = text.lines().next().and_then(|line| line.parse().ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // A server that is gone already is stopped.
        let _sent = kill_process(pid, signal);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        signal(&self.data(), Signal::QUIT);
        if let Some(mut server) = self.server.take() {
            let ended = server.wait();
            assert!(ended.is_ok() || std::thread::panicking(), "{ended:?}");
        }
    }
}
