//! At most so many a second: which frames go to a client that wants fewer than there are.
//!
//! Time is cut into slots by the ids of the frames, and the first frame in each slot goes at once. So nothing is
//! delayed, and of results and pictures the same frames are chosen. What a slot holds beyond is left out, but for the
//! newest, which goes when nothing newer came for as long as a slot is: a client does not end on an old frame.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use peregrine_proto::{CameraId, FrameId};

use crate::outbox::{Delivery, DeliveryKind};

/// The rates that a client may ask for, frames a second.
pub(crate) const RATES: std::ops::RangeInclusive<f32> = 0.1..=1000.0;

/// One client's, by camera and kind.
#[derive(Debug, Default)]
pub(crate) struct Paces(HashMap<(CameraId, DeliveryKind), Pace>);

#[derive(Debug)]
struct Pace {
    slot: u64,
    /// The newest that was held back, and when it may go.
    held: Option<(Arc<Delivery>, Instant)>,
}

impl Paces {
    /// Takes a delivery and gives it back if it may go now. A rate is out of [`RATES`] nowhere.
    pub(crate) fn pass(&mut self, delivery: Arc<Delivery>, rate: f32, now: Instant) -> Option<Arc<Delivery>> {
        let slot = slot(delivery.id, rate);
        let key = (delivery.camera.clone(), delivery.kind);
        match self.0.get_mut(&key) {
            Some(pace) if pace.slot == slot => {
                pace.held = Some((delivery, now + Duration::from_secs_f32(1.0 / rate)));
                None
            }
            _ => {
                self.0.insert(key, Pace { slot, held: None });
                Some(delivery)
            }
        }
    }

    /// Takes what was held back and may go now.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Arc<Delivery>> {
        let due = |pace: &&mut Pace| pace.held.as_ref().is_some_and(|(_, due)| *due <= now);
        let pace = self.0.values_mut().find(due)?;
        pace.held.take().map(|(delivery, _)| delivery)
    }

    /// When something held back may go next.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.0.values().filter_map(|pace| pace.held.as_ref().map(|(_, due)| *due)).min()
    }

    /// Forgets what was held back.
    pub(crate) fn forget(&mut self, unwanted: impl Fn(&Delivery) -> bool) {
        self.0.retain(|_, pace| !pace.held.as_ref().is_some_and(|(delivery, _)| unwanted(delivery)));
    }
}

/// The slot of a frame at a rate.
pub(crate) fn slot(id: FrameId, rate: f32) -> u64 {
    (id.ms as f64 * f64::from(rate) / 1000.0) as u64
}
