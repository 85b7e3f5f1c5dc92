//! Daemons whose machine has a wrong clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::time::Duration;

use anyhow::{Result, ensure};
use peregrine_e2e::{chaos::clocks::Clocks, system::*};
use peregrine_proto::ResultStatus;
use peregrine_stack::Daemon;

const LIVE: &str = "opencv:videotestsrc is-live=true pattern=ball ! video/x-raw,width=160,height=90,framerate=20/1 \
                    ! videoconvert ! appsink max-buffers=4 drop=true";

#[test]
fn live_frames_are_analysed_by_a_processor_whose_clock_is_ahead() -> Result<()> {
    let folder = folder("clocks")?;
    let clocks = Clocks::new(&folder)?;
    clocks.set(Daemon::Processor, 3600.0)?;
    let stack = clocks.give(stack(&folder, vec![camera("live", LIVE, "")?])?)?.start()?;
    let results = results(&stack, "live", 60, Duration::from_secs(60))?;
    let analysed = results.iter().filter(|(_, result)| result.status == ResultStatus::Ok).count();
    ensure!(analysed >= 30, "{analysed} of {} frames were analysed", results.len());
    Ok(())
}
