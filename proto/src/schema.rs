//! Which versions of the wire types there are, and how a value is written for readers of the older one.

use crate::{FrameHeader, FrameResult, LossCount, LossReason, ResultStatus};

/// Version of everything in this crate that is sent. Raised when a field changes its meaning or goes away;
/// a field added at the end of a struct keeps it, and so does a value added to an enum.
pub const SCHEMA: u16 = 3;
/// The oldest version that is read. Its readers refuse fields and values that they do not know.
pub const OLDEST_SCHEMA: u16 = 2;

/// Whether this release reads what was written in this version.
pub fn is_read(schema: u16) -> bool {
    (OLDEST_SCHEMA..=SCHEMA).contains(&schema)
}

impl LossReason {
    /// The reason by which readers of this version know it.
    pub fn for_schema(self, schema: u16) -> Self {
        const LAST_OF_2: u8 = LossReason::InferenceFailed.code();
        match self {
            Self::Damaged if schema < 3 => Self::Undecodable,
            later if schema < 3 && later.code() > LAST_OF_2 => Self::NotWanted,
            known => known,
        }
    }
}

/// One count for each reason that readers of this version know.
pub fn losses_for(lost: &[LossCount], schema: u16) -> Vec<LossCount> {
    let mut told: Vec<LossCount> = Vec::with_capacity(lost.len());
    for loss in lost {
        let reason = loss.reason.for_schema(schema);
        match told.iter_mut().find(|told| told.reason == reason) {
            Some(told) => told.count = told.count.saturating_add(loss.count),
            None => told.push(LossCount { reason, count: loss.count }),
        }
    }
    told
}

impl FrameHeader {
    /// The header as readers of this version read it.
    pub fn for_schema(mut self, schema: u16) -> Self {
        self.schema = schema;
        if schema < 3 {
            self.lost = losses_for(&self.lost, schema);
            self.damaged = false;
        }
        self
    }
}

impl FrameResult {
    /// The result as readers of this version read it.
    pub fn for_schema(mut self, schema: u16) -> Self {
        self.schema = schema;
        if schema < 3 {
            self.lost = losses_for(&self.lost, schema);
            self.reason = self.reason.map(|reason| reason.for_schema(schema));
            self.notices.clear();
            self.tracks.iter_mut().for_each(|track| track.class_share = None);
            if self.status.code() > ResultStatus::End.code() {
                self.status = ResultStatus::Skipped;
            }
        }
        self
    }
}
