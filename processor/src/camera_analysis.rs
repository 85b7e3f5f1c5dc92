//! One camera's analysis: detections of a frame in, tracks with speeds and regions out. Its whole state is here,
//! reads no clock and does no I/O, so that a recorded stream replays to the same bytes.

use peregrine_proto::{CameraConfig, Detection, Size, Stage, Track};

/// What came out of one frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysed {
    /// Raised whenever the tracker starts anew; a track id is unique within it.
    pub track_epoch: u32,
    /// The detections to report: kept classes from `analysis.confidence` on, sorted by falling confidence.
    pub detections: Vec<Detection>,
    /// The tracks after this frame; `Track::detection` is an index into `detections`.
    pub tracks: Vec<Track>,
}

/// Why a checkpoint could not be taken up; the camera then starts anew.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The bytes are no state of this release.
    #[error("the tracker's checkpoint cannot be read ({0}): the camera's tracks start anew")]
    Malformed(String),
}

/// The tracker, the speed filters and the region of one camera.
#[derive(Debug)]
pub struct CameraAnalysis {}

impl CameraAnalysis {
    /// Largest state in bytes that [`Self::state`] ever returns.
    pub const MAX_STATE_BYTES: usize = 64 * 1024;

    /// Prepares the analysis of a camera. `class_names` are the model's, by class id.
    ///
    /// # Errors
    /// Everything wrong with the configuration, each as a sentence with the way out: unknown class names,
    /// a calibration that cannot be used.
    pub fn new(config: &CameraConfig, class_names: &[String]) -> Result<Self, Vec<String>> {
        let _ = (config, class_names);
        Ok(Self {})
    }

    /// Continues from a checkpoint that [`Self::state`] wrote.
    ///
    /// # Errors
    /// When the bytes are no such state; nothing has changed then.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), RestoreError> {
        let _ = state;
        Ok(())
    }

    /// The state after the last frame, at most [`Self::MAX_STATE_BYTES`]. Restoring it continues bit for bit.
    pub fn state(&self) -> Vec<u8> {
        Vec::new()
    }

    /// The raised epoch of a camera whose checkpoint was lost: track ids of earlier epochs may repeat after it.
    pub fn start_epoch(&mut self, track_epoch: u32) {
        let _ = track_epoch;
    }

    /// The epoch of the tracks, see `FrameResult::track_epoch`.
    pub fn track_epoch(&self) -> u32 {
        0
    }

    /// Detections below this score have no use here: the threshold for the detector's postprocessing.
    pub fn least_confidence(&self) -> f32 {
        0.1
    }

    /// Ids of the classes that the camera keeps, rising; none for all.
    pub fn kept_classes(&self) -> Option<&[u16]> {
        None
    }

    /// Takes in the next frame. `detections` are all of the detector's above [`Self::least_confidence`], in
    /// source pixels; `source` is the size of the picture. `stage_done` is called after `track`, `speed` and `zones`: the caller reads the clock, never this code.
    pub fn update(
        &mut self,
        media_time_us: i64,
        discontinuity: bool,
        source: Size,
        detections: &[Detection],
        mut stage_done: impl FnMut(Stage),
    ) -> Analysed {
        let _ = (media_time_us, discontinuity, source, detections);
        stage_done(Stage::Track);
        stage_done(Stage::Speed);
        stage_done(Stage::Zones);
        Analysed { track_epoch: 0, detections: Vec::new(), tracks: Vec::new() }
    }
}
