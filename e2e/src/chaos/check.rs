//! The promises, checked from what stands in the streams.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use anyhow::{Context, Result};
use peregrine_proto::{CameraId, FrameResult, OLDEST_SCHEMA, ResultStatus, SCHEMA};
use peregrine_stack::{Stack, ledger::Ledger};
use peregrine_streams::ResultEntry;

use super::{Outcome, proxy::Hash};
use crate::results::essence;

/// What holds whatever happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Each frame of a file has exactly one result, and was analysed.
    EachFrameHasOneEnd,
    /// Results stand in the order of the frames, each number once.
    ResultsAreInOrder,
    /// Frames of a live camera that are missing are those that were counted as lost.
    LossesAreCounted,
    /// Detections, tracks, their ids and speeds are those of an undisturbed run.
    TracksAreUndisturbed,
    /// Under a later lease nothing was written by the holder of an earlier one.
    FencedWritersWriteNothing,
    /// Everything goes on by itself after the last fault; the newest schema is written once all replicas read it.
    NothingHangs,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EachFrameHasOneEnd => "each frame has one end",
            Self::ResultsAreInOrder => "results are in order",
            Self::LossesAreCounted => "losses are counted",
            Self::TracksAreUndisturbed => "tracks are undisturbed",
            Self::FencedWritersWriteNothing => "fenced writers write nothing",
            Self::NothingHangs => "nothing hangs",
        })
    }
}

/// What was found so far.
#[derive(Default)]
pub(super) struct Checked {
    broken: BTreeMap<Promise, Vec<String>>,
    frames: u64,
    lost: u64,
    skipped: u64,
    owners_changed: u64,
    /// Results are of the release before as well as of this one.
    two_releases: bool,
    /// Schema versions of the results.
    schemas: BTreeSet<u16>,
}

/// Places told of each promise.
const MOST_TOLD: usize = 5;

impl Checked {
    /// Nothing was found yet.
    pub(super) fn new(two_releases: bool) -> Self {
        Self { two_releases, ..Self::default() }
    }

    /// Notes a broken promise.
    pub(super) fn broke(&mut self, promise: Promise, how: String) {
        let told = self.broken.entry(promise).or_default();
        match told.len() {
            MOST_TOLD => told.push("and more".into()),
            0..MOST_TOLD => told.push(how),
            _ => {}
        }
    }

    /// Checks a camera's results; those of a file against what they have to be.
    pub(super) fn camera(
        &mut self,
        camera: &CameraId,
        entries: &[ResultEntry],
        expected: Option<&[FrameResult]>,
        ledger: &Ledger,
    ) -> Result<()> {
        let results: Vec<FrameResult> = entries
            .iter()
            .map(|entry| entry.decode().with_context(|| format!("result {} of {camera}", entry.id)))
            .collect::<Result<_>>()?;
        self.frames += results.len() as u64;
        self.schemas.extend(results.iter().map(|result| result.schema));
        self.in_order(camera, entries, &results);
        match expected {
            Some(expected) => self.as_undisturbed(camera, &results, expected),
            None => self.losses_counted(camera, &results, ledger),
        }
        Ok(())
    }

    fn in_order(&mut self, camera: &CameraId, entries: &[ResultEntry], results: &[FrameResult]) {
        for (pair, ids) in results.windows(2).zip(entries.windows(2)) {
            let ([earlier, later], [before, after]) = (pair, ids) else { continue };
            if later.n <= earlier.n {
                let told = format!("{camera}: n {} after {} at {}", later.n, earlier.n, after.id);
                self.broke(Promise::ResultsAreInOrder, told);
            }
            if after.epoch < before.epoch {
                let told = format!(
                    "{camera}: {} wrote n {} at {} under lease {} when {} held {}",
                    later.worker, later.n, after.id, after.epoch, earlier.worker, before.epoch
                );
                self.broke(Promise::FencedWritersWriteNothing, told);
            }
            self.owners_changed += u64::from(after.epoch > before.epoch);
        }
    }

    fn as_undisturbed(&mut self, camera: &CameraId, results: &[FrameResult], expected: &[FrameResult]) {
        let mut ends = vec![0_u32; expected.len()];
        for result in results.iter().filter(|result| result.status != ResultStatus::End) {
            if result.status != ResultStatus::Ok {
                let told = format!("{camera}: frame {} is {}", result.position, result.status);
                self.broke(Promise::EachFrameHasOneEnd, told);
            }
            match usize::try_from(result.position).ok().and_then(|position| ends.get_mut(position)) {
                Some(count) => *count += 1,
                None => self.broke(
                    Promise::EachFrameHasOneEnd,
                    format!("{camera}: there is no frame {}", result.position),
                ),
            }
        }
        for (position, count) in ends.iter().enumerate().filter(|(_, count)| **count != 1) {
            let told = format!("{camera}: frame {position} has {count} results");
            self.broke(Promise::EachFrameHasOneEnd, told);
        }
        for found in essence(results.iter().cloned()) {
            let Some(expected) = usize::try_from(found.position).ok().and_then(|at| expected.get(at)) else {
                continue;
            };
            let same = match self.two_releases {
                true => identities(&found) == identities(expected),
                false => found == *expected,
            };
            if !same {
                let told = format!("{camera}: frame {} differs", found.position);
                self.broke(Promise::TracksAreUndisturbed, told);
            }
        }
    }

    /// After an upgrade, results of both schema versions stand in the streams.
    pub(super) fn upgraded(&mut self) {
        let both = BTreeSet::from([OLDEST_SCHEMA, SCHEMA]);
        if self.schemas != both {
            let told = format!("results of the schema versions {:?}", self.schemas);
            self.broke(Promise::NothingHangs, told);
        }
    }

    fn losses_counted(&mut self, camera: &CameraId, results: &[FrameResult], ledger: &Ledger) {
        let skipped = results.iter().filter(|result| result.status == ResultStatus::Skipped).count() as u64;
        let gaps: u64 =
            results.windows(2).map(|pair| pair[1].n.saturating_sub(pair[0].n).saturating_sub(1)).sum::<u64>()
                + results.first().map_or(0, |first| first.n - 1);
        let counted: u64 = results.last().map_or(0, |last| last.lost.iter().map(|lost| lost.count).sum());
        self.lost += counted;
        self.skipped += skipped;
        if !ledger.balanced {
            for told in &ledger.disagreements {
                self.broke(Promise::LossesAreCounted, format!("{camera}: {told}"));
            }
        }
        if gaps > counted {
            let told = format!("{camera}: {gaps} frames are missing, {counted} are counted as lost");
            self.broke(Promise::LossesAreCounted, told);
        }
    }

    pub(super) fn into(self, outcome: Outcome) -> Outcome {
        Outcome {
            frames: self.frames,
            lost_and_counted: self.lost,
            skipped: self.skipped,
            owners_changed: self.owners_changed,
            broken: self.broken,
            ..outcome
        }
    }
}

/// Who is there in a frame, whichever release saw it: releases may place the same tracks a little differently.
fn identities(result: &FrameResult) -> (u32, BTreeSet<(u32, u16)>) {
    let told = result.tracks.iter().map(|track| (track.track_id, track.class_id));
    (result.track_epoch, told.collect())
}

/// Teaches the stack's Redis a COMMIT that checks nothing: whoever calls it writes, under an id of its own. Gives which
/// script is to be replaced by which.
pub(super) fn commit_without_checks(stack: &Stack) -> Result<(Hash, Hash)> {
    let commit = peregrine_streams::script_text("commit.lua").context("there is no such script")?;
    let mut unchecked = commit.to_owned();
    for (check, instead) in [
        ("if v[1] ~= ARGV[1] then return {'FENCED', v[1] or ''} end", ""),
        ("if current == ARGV[2] then return {'DONE', wanted} end", ""),
        ("if current ~= ARGV[3] then return {'STALE', current} end", ""),
        ("'~', ARGV[11], ARGV[2], 'r'", "'~', ARGV[11], '*', 'r'"),
    ] {
        anyhow::ensure!(unchecked.contains(check), "COMMIT has changed: `{check}` is not in it");
        unchecked = unchecked.replace(check, instead);
    }
    let mut redis = redis::Client::open(stack.redis_urls().state)?.get_connection()?;
    let mut load = |script: &str| -> Result<Hash> {
        let hash: String = redis::cmd("SCRIPT").arg("LOAD").arg(script).query(&mut redis)?;
        hash.as_bytes().try_into().context("a hash has 40 characters")
    };
    Ok((load(commit)?, load(&unchecked)?))
}
