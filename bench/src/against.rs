//! What a frame costs beside another checkout of the project: the same pipeline with its binaries and with these, in turn.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use peregrine_stack::{Builder, Daemon};
use serde::Serialize;

use crate::{
    FrameArgs, Report,
    median::{interval, median},
    pipeline::{self, Cost, DAEMONS},
};

/// Least pairs that are drawn.
pub(crate) const PAIRS: u16 = 9;
/// The interval is to be narrower than this.
const NARROW: f64 = 0.02;
/// Most that a frame may cost, of what it cost: the median, and the upper end of its interval.
const ALLOWED: f64 = 1.02;
const ALLOWED_AT_MOST: f64 = 1.03;

/// Where the executables of both lie.
pub(crate) struct Sides {
    checkout: PathBuf,
    other: PathBuf,
    this: PathBuf,
}

impl Sides {
    /// The other's are in its folder, these beside this program.
    pub(crate) fn of(checkout: &Path) -> Result<Self> {
        ensure!(!cfg!(debug_assertions), "this is a debug build, and theirs are not: run ./dev bench");
        let own = std::env::current_exe().context("cannot tell where this program lies")?;
        Self::find(checkout, &peregrine_stack::project_root(), own.parent().unwrap_or(Path::new(".")))
    }

    fn find(checkout: &Path, root: &Path, this: &Path) -> Result<Self> {
        let is_there = |folder: &Path| folder.canonicalize().ok().filter(|folder| folder.is_dir());
        let Some(folder) = is_there(checkout) else {
            bail!(
                "there is no folder {}: give --against another checkout of the project, as git worktree add makes it",
                checkout.display()
            )
        };
        let other = folder.join("target/release");
        let same = [(folder.as_path(), root), (&other, this)]
            .into_iter()
            .any(|(theirs, ours)| is_there(theirs).is_some_and(|theirs| is_there(ours) == Some(theirs)));
        ensure!(
            !same,
            "{} is this checkout: give --against another one, as git worktree add makes it",
            checkout.display()
        );
        let missing = |folder: &Path| -> Vec<&str> {
            let names = DAEMONS.map(Daemon::executable).into_iter();
            names.filter(|name| !folder.join(name).is_file()).collect()
        };
        for (folder, built_in) in [(other.as_path(), folder.as_path()), (this, root)] {
            let missing = missing(folder);
            ensure!(
                missing.is_empty(),
                "{} has no {}: run ./dev build in {}",
                folder.display(),
                missing.join(" and no "),
                built_in.display()
            );
        }
        Ok(Self { checkout: checkout.into(), other, this: this.into() })
    }
}

/// A round of each.
#[derive(Debug, Serialize)]
struct Pair {
    other: Cost,
    this: Cost,
}

/// A cost with the other's binaries and with these.
#[derive(Debug, Serialize)]
struct Change {
    /// Medians of the rounds, CPU milliseconds per frame.
    other_ms: f64,
    this_ms: f64,
    /// Median of the pairs' ratios, and where it lies with 95%; none where a round was too short for the kernel's clock.
    ratio: Option<f64>,
    interval: Option<[f64; 2]>,
}

impl Change {
    fn of(pairs: &[Pair], cost: impl Fn(&Cost) -> f64) -> Self {
        let middle = |of: &dyn Fn(&Pair) -> f64| median(pairs.iter().map(of)).unwrap_or(f64::NAN);
        let ratios: Option<Vec<f64>> = pairs
            .iter()
            .map(|pair| (cost(&pair.other), cost(&pair.this)))
            .map(|(other, this)| (other > 0.0).then(|| this / other))
            .collect();
        let ratios = ratios.unwrap_or_default();
        Self {
            other_ms: middle(&|pair| cost(&pair.other)),
            this_ms: middle(&|pair| cost(&pair.this)),
            interval: interval(ratios.iter().copied()),
            ratio: median(ratios),
        }
    }

    fn is_narrow(&self) -> bool {
        self.interval.is_some_and(|[lower, upper]| upper - lower < NARROW)
    }
}

#[derive(Debug, Serialize)]
struct Comparison {
    checkout: PathBuf,
    /// CPU time of all processes, and of each.
    all: Change,
    processes: BTreeMap<String, Change>,
    broken: Vec<String>,
    pairs: Vec<Pair>,
}

pub(crate) fn run(args: &FrameArgs, sides: &Sides, builder: &Builder) -> Result<Report> {
    let round = |executables: &Path| {
        pipeline::measure(builder.clone().executables(executables), args.frames)
            .with_context(|| format!("with the binaries in {}", executables.display()))
    };
    let mut pairs = Vec::new();
    for number in 1..=args.pairs_max {
        eprintln!("pair {number} of at least {PAIRS} and at most {} …", args.pairs_max);
        // What slows the machine down meanwhile befalls the one that comes second: each is it every other time.
        let (other, this) = if number % 2 == 1 {
            let other = round(&sides.other)?;
            (other, round(&sides.this)?)
        } else {
            let this = round(&sides.this)?;
            (round(&sides.other)?, this)
        };
        ensure!(
            other.between == this.between,
            "the two did not analyse the same frames: {:?} of {} and {:?} of this checkout",
            other.between,
            sides.checkout.display(),
            this.between
        );
        pairs.push(Pair { other, this });
        let all = Change::of(&pairs, Cost::total_ms);
        if let (Some(ratio), Some([lower, upper])) = (all.ratio, all.interval) {
            eprintln!("  so far {ratio:.4}, {lower:.4} to {upper:.4}");
        }
        if number >= PAIRS && all.is_narrow() {
            break;
        }
    }
    let comparison = Comparison::of(&sides.checkout, pairs);
    let text = if args.json { serde_json::to_string_pretty(&comparison)? } else { table(&comparison) };
    Ok(Report { text, broken: comparison.broken })
}

impl Comparison {
    fn of(checkout: &Path, pairs: Vec<Pair>) -> Self {
        let names: BTreeSet<&String> =
            pairs.iter().flat_map(|pair| pair.other.cpu_ms.keys().chain(pair.this.cpu_ms.keys())).collect();
        let of_process = |name: &String| {
            let change = Change::of(&pairs, |cost| cost.cpu_ms.get(name).copied().unwrap_or_default());
            (name.clone(), change)
        };
        let processes = names.into_iter().map(of_process).collect();
        let all = Change::of(&pairs, Cost::total_ms);
        Self { checkout: checkout.into(), broken: broken(&all, pairs.len()), all, processes, pairs }
    }
}

/// What is wrong with the cost of all processes together.
fn broken(all: &Change, pairs: usize) -> Vec<String> {
    let (Some(ratio), Some([lower, upper])) = (all.ratio, all.interval) else {
        return vec![format!("{pairs} pairs give no interval: count more --frames")];
    };
    let percent = |ratio: f64| (ratio - 1.0) * 1e2;
    [
        (
            ratio > ALLOWED,
            format!("a frame costs {} CPU in the middle, above {:.0}%", more(ratio), percent(ALLOWED)),
        ),
        (
            upper > ALLOWED_AT_MOST,
            format!(
                "a frame may cost {} CPU (upper end of the interval), above {:.0}%",
                more(upper),
                percent(ALLOWED_AT_MOST)
            ),
        ),
        (
            !all.is_narrow(),
            format!(
                "the interval is still {:.1}% wide after {pairs} pairs, not narrower than {:.0}%: use a quieter machine, more \
                 --frames or more --pairs-max",
                (upper - lower) * 1e2,
                NARROW * 1e2
            ),
        ),
    ]
    .into_iter()
    .filter_map(|(broken, what)| broken.then_some(what))
    .collect()
}

/// A ratio as people say it.
fn more(ratio: f64) -> String {
    let percent = (ratio - 1.0) * 1e2;
    if percent < 0.0 { format!("{:.2}% less", -percent) } else { format!("{percent:.2}% more") }
}

fn table(comparison: &Comparison) -> String {
    let Comparison { checkout, all, processes, broken, pairs } = comparison;
    let mut out = String::from("CPU ms per frame, medians    other       this      ratio   95% interval\n");
    let rows = processes.iter().map(|(name, change)| (name.as_str(), change)).chain([("all", all)]);
    for (name, change) in rows {
        let _ = write!(out, "{name:<24} {:9.3}  {:9.3}  ", change.other_ms, change.this_ms);
        let _ = match (change.ratio, change.interval) {
            (Some(ratio), Some([lower, upper])) => {
                writeln!(out, "{ratio:9.4}   {lower:.4} to {upper:.4}")
            }
            _ => writeln!(out, "        -   -"),
        };
    }
    out += "\nwall ms per frame by stage, medians\n";
    let stages: BTreeSet<&str> = pairs
        .iter()
        .flat_map(|pair| pair.other.stage_ms.keys().chain(pair.this.stage_ms.keys()))
        .copied()
        .collect();
    let sides: [fn(&Pair) -> &Cost; 2] = [|pair| &pair.other, |pair| &pair.this];
    for stage in stages {
        let [other, this] = sides.map(|side| {
            median(pairs.iter().filter_map(|pair| side(pair).stage_ms.get(stage).copied()))
                .map_or("-".to_owned(), |ms| format!("{ms:.3}"))
        });
        let _ = writeln!(out, "{stage:<24} {other:>9}  {this:>9}");
    }
    if let (Some(ratio), Some([lower, upper])) = (all.ratio, all.interval) {
        let _ = write!(
            out,
            "\nA frame costs {} CPU than with the binaries of {} (median of {} pairs; with 95% between {} and {}). {}",
            more(ratio),
            checkout.display(),
            pairs.len(),
            more(lower),
            more(upper),
            if broken.is_empty() {
                "At most 2% more in the middle and 3% at the upper end: it holds."
            } else {
                "It does not hold that this is at most 2% in the middle and 3% at the upper end, known to 2%."
            }
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;
    use tempfile::TempDir;

    use super::*;
    use crate::Args;

    fn cost(ms: f64) -> Cost {
        let cpu_ms = BTreeMap::from([("redis".to_owned(), 0.25 * ms), ("producer".to_owned(), 0.75 * ms)]);
        Cost {
            frames: 300,
            between: [29, 329],
            fps: 10.0,
            cpu_ms,
            stage_ms: BTreeMap::from([("decode", ms)]),
        }
    }

    /// Pairs of which each costs so much of 8 ms.
    fn pairs(ratios: &[f64]) -> Vec<Pair> {
        ratios.iter().map(|ratio| Pair { other: cost(8.0), this: cost(8.0 * ratio) }).collect()
    }

    fn compared(ratios: &[f64]) -> Comparison {
        Comparison::of(Path::new("../before"), pairs(ratios))
    }

    #[test]
    fn the_ratio_is_not_the_median_of_the_pairs() {
        let compared = compared(&[1.004, 0.996, 1.000, 1.002, 1.010, 3.0, 0.998, 1.006, 1.008]);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(close(compared.all.ratio.unwrap(), 1.004), "{compared:?}");
        // The second least and the second greatest.
        let [lower, upper] = compared.all.interval.unwrap();
        assert!(close(lower, 0.998) && close(upper, 1.010), "{compared:?}");
        assert!(close(compared.processes["redis"].other_ms, 2.0), "{compared:?}");
        assert!(close(compared.processes["producer"].this_ms, 6.024), "{compared:?}");
        assert_eq!(compared.broken, Vec::<String>::new());
        let text = table(&compared);
        assert!(
            text.contains("0.40% more CPU than with the binaries of ../before (median of 9 pairs"),
            "{text}"
        );
        assert!(text.contains("between 0.20% less and 1.00% more") && text.contains("it holds"), "{text}");
    }

    #[test]
    fn more_cost_is_passed_over() {
        let middle = compared(&[1.021; 9]).broken;
        assert!(middle.len() == 1 && middle[0].contains("2.10% more CPU in the middle"), "{middle:?}");
        let upper = compared(&[1.016, 1.016, 1.016, 1.016, 1.016, 1.031, 1.031, 1.031, 1.031]).broken;
        assert!(upper.len() == 1 && upper[0].contains("3.10% more CPU (upper end"), "{upper:?}");
    }

    #[test]
    fn a_wide_interval_passes() {
        let wide = compared(&[0.98, 0.99, 0.99, 1.0, 1.0, 1.0, 1.0, 1.02, 1.02]);
        assert!(!wide.all.is_narrow());
        assert!(
            wide.broken.len() == 1 && wide.broken[0].contains("still 3.0% wide after 9 pairs"),
            "{wide:?}"
        );
    }

    #[test]
    fn a_process_without_cpu_time_has_a_ratio() {
        let mut pairs = pairs(&[1.0; 9]);
        pairs[3].other.cpu_ms.insert("redis".into(), 0.0);
        let compared = Comparison::of(Path::new("../before"), pairs);
        assert_eq!((compared.processes["redis"].ratio, compared.processes["redis"].interval), (None, None));
        assert!(compared.all.ratio.is_some());
    }

    /// A checkout with these release binaries.
    fn checkout(names: &[&str]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("target/release")).unwrap();
        for name in names {
            fs::write(folder.path().join("target/release").join(name), "").unwrap();
        }
        folder
    }

    fn refused(other: &Path, this: &Path) -> String {
        Sides::find(other, this, &this.join("target/release")).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn a_checkout_that_cannot_be_compared_is_taken() {
        let all = ["producer", "processor", "gateway"];
        let (this, other) = (checkout(&all), checkout(&all));
        let found = Sides::find(other.path(), this.path(), &this.path().join("target/release")).unwrap();
        assert_eq!(found.other, other.path().canonicalize().unwrap().join("target/release"));

        let said = refused(&other.path().join("nowhere"), this.path());
        assert!(said.contains("nowhere: give --against another checkout"), "{said}");
        let said = refused(&this.path().join("target/.."), this.path());
        assert!(said.contains("is this checkout: give --against another one"), "{said}");
        let (half, unbuilt) = (checkout(&["producer", "gateway"]), tempfile::tempdir().unwrap());
        let said = refused(half.path(), this.path());
        assert!(said.contains("target/release has no processor: run ./dev build in"), "{said}");
        let said = refused(unbuilt.path(), this.path());
        assert!(
            said.contains("has no producer and no processor and no gateway: run ./dev build in"),
            "{said}"
        );
        let said = refused(this.path(), half.path());
        assert!(said.contains(&format!("run ./dev build in {}", half.path().display())), "{said}");
        let linked = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(this.path().join("target"), linked.path().join("target")).unwrap();
        assert!(refused(linked.path(), this.path()).contains("is this checkout"));
    }

    #[test]
    fn options_that_say_nothing_are_taken() {
        let parsed = |options: &[&str]| {
            Args::try_parse_from([&["bench"], options].concat()).map(|args| args.frame.pairs_max)
        };
        assert_eq!(parsed(&["--against", "../before"]).unwrap(), 40);
        assert_eq!(parsed(&["--against", "../before", "--pairs-max", "9"]).unwrap(), 9);
        for (options, said) in [
            (&["--pairs-max", "20"][..], "--against <DIR>"),
            (&["--against", "../before", "--pairs-max", "8"], "9..=1000"),
            (&["--against", "../before", "--rounds", "5"], "cannot be used with"),
        ] {
            let refusal = parsed(options).unwrap_err().to_string();
            assert!(refusal.contains(said), "{refusal}");
        }
    }
}
