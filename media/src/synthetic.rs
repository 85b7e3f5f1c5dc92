//! A rendered road scene whose vehicles have exactly known positions and speeds.

use peregrine_proto::{CalibrationConfig, Size};
use serde::{Deserialize, Serialize};

use crate::Picture;

/// What to render; see `synthetic:` addresses.
#[derive(Debug, Clone, PartialEq)]
pub struct SceneConfig {
    /// Width and height in pixels, both even.
    pub size: Size,
    /// Frames per second.
    pub fps: f64,
    /// Frames until the end; endless where 0.
    pub frames: u64,
    /// How many vehicles are on their way.
    pub vehicles: u32,
    /// Everything that is drawn by lot follows from it.
    pub seed: u64,
}

/// A scene: any frame of it can be rendered at any time.
pub struct Scene {
    config: SceneConfig,
}

/// What is really there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TruthObject {
    /// Unique in the scene.
    pub id: u32,
    /// COCO class name.
    pub class: String,
    /// Left, top, right, bottom in source pixels: its bottom centre is the image of `ground_m`.
    pub xyxy: [f64; 4],
    /// Position on the ground, metres.
    pub ground_m: [f64; 2],
    /// Speed, metres per second.
    pub speed_mps: f64,
    /// Direction of motion, radians from +X towards +Y.
    pub heading_rad: f64,
    /// Share of the box that nearer objects or the picture's edge hide, 0 to 1.
    pub hidden: f64,
}

impl Scene {
    /// A scene.
    ///
    /// # Errors
    /// A sentence about a value out of bounds.
    pub fn new(config: SceneConfig) -> Result<Self, String> {
        Ok(Self { config })
    }

    /// What it was made of.
    pub fn config(&self) -> &SceneConfig {
        &self.config
    }

    /// How its pixels map to the ground.
    pub fn calibration(&self) -> CalibrationConfig {
        CalibrationConfig { points: Vec::new(), world_from_image: None }
    }

    /// What is in a frame, sorted by id.
    pub fn truth(&self, frame: u64) -> Vec<TruthObject> {
        let _ = frame;
        Vec::new()
    }
}

/// The frame number that a picture of the scene carries in its pixels, also after JPEG and resizing down to 320 columns;
/// none where the picture carries none.
pub fn read_frame_number(picture: &Picture) -> Option<u32> {
    let _ = picture;
    None
}
