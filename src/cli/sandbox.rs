//! `rollback sandbox`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::context::Context;
use super::error::{CliError, UNEXPECTED, USAGE};
use super::open;
use super::output::Format;
use crate::report::style::{FAINT, STRONG, paint};
use crate::report::text::sanitize;
use crate::sandbox::faults::Fault;
use crate::sandbox::postgres::{Choice, DatabaseStatus};
use crate::sandbox::prometheus::NewValue;
use crate::sandbox::world::{Options, Status};
use crate::sandbox::{SandboxError, nginx, process};

/// The small world on loopback that runbooks can be tried against
#[derive(Debug, Args)]
pub(super) struct SandboxArgs {
    #[command(subcommand)]
    command: SandboxCommand,
}

#[derive(Debug, Subcommand)]
enum SandboxCommand {
    /// Run the world in the foreground; a run with `--env sandbox` starts it by itself
    Serve(ServeArgs),
    /// Show the world from its own side
    Status,
    /// Put the world back to deployed-green
    Reset,
    /// End the world; its state stays
    Down,
    /// Inject faults into the running world, or clear them
    Fault(FaultArgs),
    /// Give metrics of the running world other values, or list them
    Metric(MetricArgs),
    /// The load balancer's own command line, as `nginx` has it
    #[command(hide = true, disable_help_flag = true)]
    Nginx {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// The world's folder [default: `sandbox` in the state folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How many agents each colour has, when the world is made
    #[arg(long, value_name = "N", default_value_t = 131)]
    agents: usize,
    /// How many times as fast as real systems it works
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    speed: f64,
    /// `auto` takes one of this machine, else the one inside the program; or `none`, `embedded`, or the folder of
    /// `postgres` and `initdb`
    #[arg(long, value_name = "WHICH", env = process::POSTGRES_VARIABLE, default_value = "auto")]
    postgres: Choice,
    /// A fault from the start, such as `docker:latency=4s`
    #[arg(long, value_name = "FAULT")]
    fault: Vec<Fault>,
}

#[derive(Debug, Args)]
struct FaultArgs {
    /// `SYSTEM:KIND`: docker, loadbalancer, blue, green, chat, redis, prometheus, kubernetes, digitalocean, pager, sms, mail, tracker,
    /// old-orchestrator or new-orchestrator;
    /// latency=400ms, error=503, reset, lost or silence; then perhaps `,path=/stop,times=2`
    #[arg(required_unless_present = "clear")]
    fault: Vec<Fault>,
    /// Clear all faults first
    #[arg(long)]
    clear: bool,
}

#[derive(Debug, Args)]
struct MetricArgs {
    /// A series with its new value, such as `ollama_memory_usage_ratio 0.95` or `NAME{label="value"} NaN`
    value: Vec<NewValue>,
}

pub(super) async fn run(cx: &Context, args: SandboxArgs) -> Result<u8, CliError> {
    let failed = |what: &'static str| {
        move |error: SandboxError| CliError::new(UNEXPECTED, what).caused_by(&error)
    };
    let config = cx.config.clone();
    match args.command {
        SandboxCommand::Nginx { arguments } => {
            let outcome = nginx::command(&arguments);
            cx.output.raw_progress(&outcome.stderr);
            Ok(outcome.code)
        }
        SandboxCommand::Serve(args) => {
            let dir = match args.dir {
                Some(dir) => dir,
                None => process::world_dir(open::store(cx, &config)?.dir()),
            };
            let options = Options {
                agents: args.agents,
                speed: args.speed,
                faults: args.fault,
                postgres: args.postgres,
                ..Options::default()
            };
            process::serve(&dir, options).await.map_err(failed("serve the sandbox"))?;
            Ok(0)
        }
        SandboxCommand::Down => {
            let store = open::store(cx, &config)?;
            let ended = process::down(store.dir()).await.map_err(failed("end the sandbox"))?;
            cx.output.progress(if ended {
                "the sandbox has ended"
            } else {
                "no sandbox was running"
            });
            Ok(0)
        }
        SandboxCommand::Status => {
            let info = running(cx, &config).await?;
            let status = process::status(&info).await.map_err(failed("ask the sandbox"))?;
            show(cx, &status);
            Ok(0)
        }
        SandboxCommand::Reset => {
            let info = running(cx, &config).await?;
            let status = process::reset(&info).await.map_err(failed("reset the sandbox"))?;
            show(cx, &status);
            Ok(0)
        }
        SandboxCommand::Metric(args) => {
            let info = running(cx, &config).await?;
            let metrics =
                process::measure(&info, &args.value).await.map_err(failed("set the metrics"))?;
            metrics.lines().for_each(|line| cx.output.data(sanitize(line)));
            Ok(0)
        }
        SandboxCommand::Fault(args) => {
            let info = running(cx, &config).await?;
            process::inject(&info, &args.fault, args.clear)
                .await
                .map_err(failed("inject the fault"))?;
            let status = process::status(&info).await.map_err(failed("ask the sandbox"))?;
            for fault in &status.faults {
                cx.output.data(sanitize(fault));
            }
            Ok(0)
        }
    }
}

async fn running(
    cx: &Context,
    config: &crate::environment::Config,
) -> Result<crate::sandbox::world::WorldInfo, CliError> {
    let store = open::store(cx, config)?;
    process::running(store.dir())
        .await
        .map_err(|error| CliError::new(UNEXPECTED, "find the sandbox").caused_by(&error))?
        .ok_or_else(|| {
            CliError::new(USAGE, "find a running sandbox")
                .hint("A run with `--env sandbox` starts it, and so does `rollback sandbox serve`.")
        })
}

fn show(cx: &Context, status: &Status) {
    if cx.output.format != Format::Human {
        let value = serde_json::to_value(status).unwrap_or_default();
        cx.output.data(value.to_string());
        return;
    }
    let out = |line: String| cx.output.data(line);
    let balancer = &status.load_balancer;
    out(format!(
        "load balancer  serves {} (HTTP {}, version {}, {} agents)",
        paint(STRONG, balancer.colour.as_deref().unwrap_or("nothing")),
        balancer.http,
        balancer.version.as_deref().unwrap_or("–"),
        balancer.agents.unwrap_or(0)
    ));
    let answering = |name: &str| {
        let answer = status.orchestrators.get(name);
        let version = answer.and_then(|answer| answer.version.as_deref()).unwrap_or("nothing");
        sanitize(version)
    };
    if !status.orchestrators.is_empty() {
        let [old, new, front] = ["old", "new", "front"].map(answering);
        let front = paint(STRONG, front);
        out(format!(
            "orchestrators  old {old}, new {new}; the front of the new one serves {front}"
        ));
    }
    for (project, states) in &status.containers {
        let counts: Vec<_> =
            states.iter().map(|(state, count)| format!("{count} {state}")).collect();
        out(format!("containers     {project}: {}", counts.join(", ")));
    }
    for (image, count) in &status.images {
        out(format!("image          {image}: {count}"));
    }
    out(format!("files          {}", status.files.len()));
    let groups: Vec<_> = status
        .redis
        .iter()
        .map(|(group, count)| format!("{count} {}:*", sanitize(group)))
        .collect();
    out(format!("redis          {}", groups.join(", ")));
    for deployment in &status.deployments {
        let held = if deployment.paused { ", paused" } else { "" };
        out(format!(
            "deployment     {}: revision {} from {}, {} of {} updated, {} available{held}",
            sanitize(&deployment.name),
            sanitize(&deployment.revision),
            sanitize(&deployment.image),
            deployment.updated,
            deployment.replicas,
            deployment.available
        ));
    }
    register(cx, &status.database);
    for text in &status.chat {
        out(format!("chat           {}", sanitize(text)));
    }
    for (kind, messages) in
        [("pager", &status.pages), ("sms", &status.texts), ("mail", &status.mails)]
    {
        for text in messages {
            out(format!("{kind:<14} {}", sanitize(text)));
        }
    }
    for entry in &status.tracker {
        out(format!("tracker        {}", sanitize(&entry.to_string())));
    }
    for fault in &status.faults {
        out(format!("fault          {}", sanitize(fault)));
    }
    out(format!("effects        {} since deployed-green", status.effects_total));
    out(paint(FAINT, "everything: rollback sandbox status --format json"));
}

/// The register of agents: with which version, and whether that is what they had before.
fn register(cx: &Context, database: &DatabaseStatus) {
    cx.output.data(format!("database       {}", sanitize(&database.server)));
    let Some(unlike) = database.unlike_before else { return };
    let counts: Vec<_> =
        database.registered.iter().map(|(what, count)| format!("{count} {what}")).collect();
    let before = match unlike {
        0 => "all as before the deployment".to_owned(),
        some => format!("{some} not as before the deployment"),
    };
    cx.output.data(format!("registered     {}; {before}", sanitize(&counts.join(", "))));
}
