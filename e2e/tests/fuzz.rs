//! A short run of `./dev fuzz`, the same each time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use anyhow::Result;
use peak_alloc::PeakAlloc;
use peregrine_e2e::{
    fuzz::{Plan, run},
    system::folder,
};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Alone in this file: memory is counted for the whole process.
#[test]
fn decoder_breaks_at_hostile_bytes() -> Result<()> {
    let plan = Plan { seed: 7, inputs: 150_000, only: None, note: folder("fuzz")?.join("at") };
    let outcome = run(&plan, ALLOCATOR, &mut |text| eprintln!("{text}"))?;
    assert!(outcome.broken.is_empty(), "{outcome}");
    for tally in &outcome.tallies {
        let inputs = tally.accepted + tally.refused;
        assert!(
            tally.accepted * 50 > inputs && tally.refused * 50 > inputs,
            "hardly any way is taken: {tally}"
        );
    }
    Ok(())
}
