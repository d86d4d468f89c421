//! The command line: `-t`, `-s reload`, `-v`, with `-c`, `-p` and `-g`, nginx's own texts and its exit codes.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use super::config::{Config, ConfigError};
use super::lexer::{open_failed, os_text};

/// What a call ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// For standard error, lines included.
    pub stderr: String,
    /// The exit code.
    pub code: u8,
}

#[derive(Default)]
struct Options {
    file: Option<PathBuf>,
    prefix: Option<PathBuf>,
    test: bool,
    quiet: bool,
    reload: bool,
    version: bool,
}

/// Carries out a call of the `nginx` program with these arguments.
pub fn command(arguments: &[String]) -> Outcome {
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(text) => return failed(&format!("nginx: {text}\n")),
    };
    if options.version {
        return Outcome {
            stderr: "nginx version: nginx/1.22.1 (rollback sandbox)\n".to_owned(),
            code: 0,
        };
    }
    let prefix = options.prefix.unwrap_or_else(|| PathBuf::from("/etc/nginx"));
    let file = options.file.unwrap_or_else(|| PathBuf::from("nginx.conf"));
    let file = prefix.join(file);
    let config = Config::load(&file, &prefix).and_then(|config| {
        check_system(&config)?;
        Ok(config)
    });
    match config {
        Err(error) if options.test => failed(&format!(
            "nginx: [emerg] {error}\nnginx: configuration file {} test failed\n",
            file.display()
        )),
        Err(error) => failed(&format!("nginx: [emerg] {error}\n")),
        Ok(_) if options.test && options.quiet => Outcome { stderr: String::new(), code: 0 },
        Ok(_) if options.test => Outcome {
            stderr: format!(
                "nginx: the configuration file {0} syntax is ok\n\
                 nginx: configuration file {0} test is successful\n",
                file.display()
            ),
            code: 0,
        },
        Ok(config) if options.reload => reload(&config.pid),
        Ok(_) => failed(
            "nginx: the sandbox runs nginx by itself; only -t, -s reload and -v are implemented\n",
        ),
    }
}

fn failed(stderr: &str) -> Outcome {
    Outcome { stderr: stderr.to_owned(), code: 1 }
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = |what: &str| {
                arguments
                    .next()
                    .cloned()
                    .ok_or_else(|| format!("option \"{argument}\" requires {what}"))
            };
            match argument.as_str() {
                "-t" => options.test = true,
                "-q" => options.quiet = true,
                "-v" | "-V" => options.version = true,
                "-c" => options.file = Some(value("file name")?.into()),
                "-p" => options.prefix = Some(value("directory name")?.into()),
                // Global directives of the command line: the double has none that they could change.
                "-g" => drop(value("parameter")?),
                "-s" => match value("parameter")?.as_str() {
                    "reload" => options.reload = true,
                    other => return Err(format!("invalid option: \"-s {other}\"")),
                },
                other => return Err(format!("invalid option: \"{other}\"")),
            }
        }
        Ok(options)
    }
}

/// What nginx tries beyond reading: the error log, and the addresses, of which one that is in use is fine
/// (`ngx_open_listening_sockets` in a test).
fn check_system(config: &Config) -> Result<(), ConfigError> {
    if let Some(log) = &config.error_log {
        fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(log)
            .map_err(|error| open_failed(log, &error))?;
    }
    for address in config.addresses() {
        match TcpListener::bind(address) {
            Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
                return Err(ConfigError(format!(
                    "bind() to {address} failed ({})",
                    os_text(&error)
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

fn reload(pid_file: &Path) -> Outcome {
    let text = match fs::read_to_string(pid_file) {
        Ok(text) => text,
        Err(error) => {
            return failed(&format!("nginx: [error] {}\n", open_failed(pid_file, &error)));
        }
    };
    let number = text.trim().parse().ok().filter(|number| *number > 0);
    let Some((number, pid)) = number.and_then(|number| Some((number, Pid::from_raw(number)?)))
    else {
        return failed(&format!(
            "nginx: [error] invalid PID number \"{}\" in \"{}\"\n",
            text.trim(),
            pid_file.display()
        ));
    };
    match kill_process(pid, Signal::HUP) {
        Ok(()) => Outcome { stderr: String::new(), code: 0 },
        Err(error) => failed(&format!(
            "nginx: [alert] kill({number}, 1) failed ({})\n",
            os_text(&error.into())
        )),
    }
}
