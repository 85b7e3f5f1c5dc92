//! `gateway explain`: looks at the metrics of every daemon twice, and says in words what keeps each camera from what it should
//! get, what would help, and by how much.
//!
//! `samples` reads the metrics, `system` makes rates of them, `servers` knows what frames pass one after another,
//! `diagnosis` finds the fullest, `remedy` predicts what a change gives, `report` puts it into words.

mod diagnosis;
mod remedy;
mod report;
mod samples;
mod scrape;
mod servers;
mod system;
#[cfg(test)]
mod tests;
mod words;

use std::{io::Write, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use peregrine_daemon::{CommonArgs, load};

use crate::Config;
use report::Report;

/// Says what keeps the running system's cameras from what they should get, what to change, and what that should give.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// The daemons' admin addresses, HOST:PORT[,HOST:PORT…]; those that announced themselves in Redis unless given.
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    targets: Vec<String>,
    /// How long to watch; longer is more exact.
    #[arg(long, value_name = "N", default_value_t = 5.0, value_parser = seconds)]
    seconds: f64,
    /// Writes JSON.
    #[arg(long)]
    json: bool,
}

/// How `explain` ends.
enum Verdict {
    Healthy = 0,
    Unhealthy = 1,
    /// Nothing could be seen.
    Blind = 2,
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|n| (1.0..=3600.0).contains(n)).ok_or_else(|| "use 1 to 3600 seconds".into())
}

/// Looks, and tells on standard output. The exit code is 0 for a healthy system, 1 for one that is not, 2 where nothing could
/// be seen.
pub fn explain(args: &ExplainArgs) -> ExitCode {
    let verdict = match look(args) {
        Ok(report) => {
            let text = if args.json { json(&report) } else { report.text() };
            // Nobody is left to tell when standard output is closed.
            let _ = std::io::stdout().write_all(text.as_bytes());
            if report.healthy { Verdict::Healthy } else { Verdict::Unhealthy }
        }
        Err(error) => {
            eprintln!("explain: {}", peregrine_proto::mask(&format!("{error:#}")));
            Verdict::Blind
        }
    };
    ExitCode::from(verdict as u8)
}

fn json(report: &Report) -> String {
    serde_json::to_string_pretty(report).unwrap_or_default() + "\n"
}

fn look(args: &ExplainArgs) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let targets = match &args.targets[..] {
            [] => announced(&args.common).await?,
            given => given.iter().map(|target| plain(target)).collect(),
        };
        let (seen, silent) = scrape::watch(targets, Duration::from_secs_f64(args.seconds)).await;
        for why in &silent {
            eprintln!("explain: left out {why}");
        }
        if seen.is_empty() {
            bail!("no daemon answers: give the addresses of their metrics with --targets HOST:PORT,…");
        }
        Ok(Report::of(&seen))
    })
}

/// The addresses that running daemons wrote into Redis.
async fn announced(common: &CommonArgs) -> anyhow::Result<Vec<String>> {
    let config = load::<Config>(common)?.config;
    let redis = config
        .redis
        .open()
        .await
        .context("the daemons' addresses are in Redis; without it, use --targets")?;
    let daemons = redis.daemons().await?;
    if daemons.is_empty() {
        bail!(
            "no daemon has announced itself in Redis: is one running? Otherwise give --targets HOST:PORT,…"
        );
    }
    Ok(daemons.into_iter().map(|daemon| daemon.address).collect())
}

/// `http://host:port/metrics` is as good as `host:port`.
fn plain(target: &str) -> String {
    let target = target.trim().trim_start_matches("http://");
    target.split('/').next().unwrap_or_default().to_owned()
}
