//! A short chaos run, and the control that shows that its checks can fail. `./dev chaos` runs longer ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::time::Duration;

use anyhow::Result;
use peregrine_e2e::{
    chaos::{Outcome, Plan, run},
    system::folder,
};

fn short(name: &str, seed: u64, control: bool) -> Result<Outcome> {
    let plan = Plan {
        seed,
        lasts: Duration::from_secs(30),
        processors: 3,
        ttl: Duration::from_secs(1),
        control,
        before: None,
        folder: folder(name)?,
    };
    run(&plan, &mut |text| eprintln!("{text}"))
}

#[test]
fn promise_is_broken_under_faults() -> Result<()> {
    let outcome = short("chaos", 7, false)?;
    assert!(outcome.broken.is_empty(), "{outcome}");
    assert!(outcome.owners_changed > 3 && outcome.frames > 1000, "hardly anything happened: {outcome}");
    Ok(())
}

#[test]
fn commit_without_its_checks_breaks_no_promise() -> Result<()> {
    let outcome = short("chaos-control", 7, true)?;
    assert!(!outcome.broken.is_empty(), "{outcome}");
    Ok(())
}
