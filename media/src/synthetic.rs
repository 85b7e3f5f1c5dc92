//! A rendered road scene whose vehicles have exactly known positions and speeds.
//!
//! A camera on a gantry looks along a straight road of four lanes. Everything follows from the configuration and the frame's
//! index: any frame can be rendered at any time, and twice the same. World axes in metres: X to the right, Y along the road,
//! Z up; the camera stands over the origin. With `signals=1` the road is an intersection with signals, queues and turns
//! (`synthetic/signals.rs`).
//!
//! **The foot point.** An object's `ground_m` is the ground point that projects onto the bottom centre of its box, exactly.
//! It lies on the ground line of the object's face nearest to the camera (an oncoming car's front, a leaving car's rear), and
//! this point is what moves along the lane with the speed that the truth gives. The drawn body is set sideways by what
//! perspective asks for, at most some decimetres; of a vehicle that turns, at most the half of its length.
//!
//! **The frame number** stands along the top edge as 32 cells of equal width over the whole width of the picture and 1/24
//! of its height: white, black, then 24 bits of the number (the highest first, white is 1), then 6 bits of checksum: the
//! number's four 6-bit groups and 42, all combined by exclusive or.

mod paint;
mod record;
mod signals;
mod traffic;

use peregrine_proto::{CalibrationConfig, Colour, ColourMatrix, ColourRange, PictureShape, Size};
use serde::{Deserialize, Serialize};

use crate::{Picture, picture::tight_len};
use paint::Canvas;
pub use record::{RecordError, record};
use signals::Signals;

/// All colours are given in this.
pub(crate) const COLOUR: Colour = Colour { matrix: ColourMatrix::Bt601, range: ColourRange::Limited };

/// What to render; see [`SceneConfig::parse`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SceneConfig {
    /// Width and height in pixels, both even, 160x96 to 3840x2160.
    pub size: Size,
    /// Frames per second, up to 240.
    pub fps: f64,
    /// Frames until the end; endless where 0.
    pub frames: u64,
    /// About how many vehicles are on the road at a time, up to 24.
    pub vehicles: u32,
    /// How many people walk beside the road, up to 24.
    pub people: u32,
    /// Everything that is drawn by lot follows from it.
    pub seed: u64,
    /// Whether the road is an intersection with signals: cars queue, start, brake and turn.
    #[serde(default)]
    pub signals: bool,
}

impl Default for SceneConfig {
    fn default() -> Self {
        Self {
            size: Size { width: 768, height: 432 },
            fps: 25.0,
            frames: 0,
            vehicles: 8,
            people: 2,
            seed: 1,
            signals: false,
        }
    }
}

impl SceneConfig {
    /// Reads what follows `synthetic:`, like `road?w=768&h=432&fps=25&frames=250&vehicles=8&people=2&seed=1&signals=0`. What
    /// is not given has its default (these values, but endless).
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scene, query) = text.split_once('?').unwrap_or((text, ""));
        if scene != "road" {
            return Err(format!("there is no scene `{scene}`: use `synthetic:road`"));
        }
        let mut config = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("`{pair}` has no value"))?;
            let known = match key {
                "w" => value.parse().map(|value| config.size.width = value).is_ok(),
                "h" => value.parse().map(|value| config.size.height = value).is_ok(),
                "fps" => value.parse().map(|value| config.fps = value).is_ok(),
                "frames" => value.parse().map(|value| config.frames = value).is_ok(),
                "vehicles" => value.parse().map(|value| config.vehicles = value).is_ok(),
                "people" => value.parse().map(|value| config.people = value).is_ok(),
                "seed" => value.parse().map(|value| config.seed = value).is_ok(),
                "signals" => match value {
                    "0" | "1" => {
                        config.signals = value == "1";
                        true
                    }
                    _ => false,
                },
                _ => {
                    return Err(format!(
                        "a scene has no `{key}`: use w, h, fps, frames, vehicles, people, seed and signals"
                    ));
                }
            };
            if !known {
                return Err(format!("`{value}` is no value for {key}"));
            }
        }
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let Size { width, height } = self.size;
        if !width.is_multiple_of(2) || !height.is_multiple_of(2) {
            return Err(format!("a scene of {width}x{height} cannot be: use even numbers"));
        }
        if !(160..=3840).contains(&width) || !(96..=2160).contains(&height) {
            return Err(format!("a scene of {width}x{height} cannot be: use 160x96 to 3840x2160"));
        }
        if !(self.fps > 0.0 && self.fps <= 240.0) {
            return Err(format!("fps is {}: use a rate above 0 and up to 240", self.fps));
        }
        if self.vehicles > 24 || self.people > 24 {
            return Err("a scene has room for 24 vehicles and 24 people".into());
        }
        Ok(())
    }
}

/// A scene: any frame of it can be rendered at any time.
pub struct Scene {
    config: SceneConfig,
    camera: Camera,
    background: Vec<u8>,
    signals: Option<Signals>,
}

/// What is really there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TruthObject {
    /// Unique in the scene.
    pub id: u64,
    /// COCO class name: `car`, `truck`, `bus` or `person`.
    pub class: String,
    /// Left, top, right, bottom in source pixels, as tight as the drawing; its bottom centre is the image of `ground_m`.
    pub xyxy: [f64; 4],
    /// The foot point on the ground, metres.
    pub ground_m: [f64; 2],
    /// Speed of the foot point, metres per second.
    pub speed_mps: f64,
    /// Direction of motion, radians from +X towards +Y; kept while the object stands.
    pub heading_rad: f64,
    /// About which share of the box nearer objects or the picture's edges hide, 0 to 1.
    pub hidden: f64,
}

/// What is really there in one frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// Index of the frame.
    pub frame: u64,
    /// Its media time, microseconds.
    pub media_time_us: i64,
    /// Everything whose foot point is in the picture and near enough to be seen, sorted by id.
    pub objects: Vec<TruthObject>,
}

impl Scene {
    /// A scene.
    ///
    /// # Errors
    /// A sentence about a value out of bounds.
    pub fn new(config: SceneConfig) -> Result<Self, String> {
        config.check()?;
        let camera = Camera::over_the_road(config.size);
        let background = paint::background(&config, &camera);
        let signals = config.signals.then(|| Signals::new(config.seed, config.vehicles));
        Ok(Self { config, camera, background, signals })
    }

    /// What it was made of.
    pub fn config(&self) -> &SceneConfig {
        &self.config
    }

    /// How its pixels map to the ground: the exact homography.
    pub fn calibration(&self) -> CalibrationConfig {
        CalibrationConfig {
            points: Vec::new(),
            world_from_image: Some(self.camera.world_from_image()),
            drawn_on: Some(PictureShape::new(self.config.size, 1.0)),
        }
    }

    /// The picture of a frame.
    pub fn render(&self, frame: u64) -> Picture {
        let mut canvas = Canvas::new(self.config.size, self.background.clone());
        let mut bodies = self.bodies(frame);
        // Far ones first, so that near ones hide them.
        bodies.sort_by(|a, b| b.mover.ground_m[1].total_cmp(&a.mover.ground_m[1]));
        for body in &bodies {
            canvas.fill(&body.shadow, paint::SHADOW, 0.45);
        }
        for body in &bodies {
            for face in &body.faces {
                canvas.fill(&face.outline, face.colour, 1.0);
            }
        }
        canvas.write_number(number_cells((frame % (1 << NUMBER_BITS)) as u32));
        let pixels = canvas.into_bytes();
        debug_assert_eq!(pixels.len(), tight_len(self.config.size));
        Picture::tight(self.config.size, COLOUR, pixels)
    }

    /// What is in a frame.
    pub fn truth(&self, frame: u64) -> Truth {
        let mut bodies = self.bodies(frame);
        // Near ones first: whatever was seen so far hides what follows.
        bodies.sort_by(|a, b| a.mover.ground_m[1].total_cmp(&b.mover.ground_m[1]));
        let size = [f64::from(self.config.size.width), f64::from(self.config.size.height)];
        let mut nearer: Vec<[f64; 4]> = Vec::new();
        let mut objects = Vec::new();
        for body in bodies {
            let foot = self.camera.image_of([body.mover.ground_m[0], body.mover.ground_m[1], 0.0]);
            let in_picture = foot.is_some_and(|foot| (0..2).all(|i| foot[i] >= 0.0 && foot[i] <= size[i]));
            let hidden = hidden_share(body.xyxy, &nearer, size);
            nearer.push(body.xyxy);
            if in_picture && body.mover.ground_m[1] <= traffic::FAR_M {
                objects.push(TruthObject {
                    id: body.mover.id,
                    class: body.mover.class.name().to_owned(),
                    xyxy: body.xyxy,
                    ground_m: body.mover.ground_m,
                    speed_mps: body.mover.speed_mps,
                    heading_rad: body.mover.heading_rad,
                    hidden,
                });
            }
        }
        objects.sort_by_key(|object| object.id);
        Truth { frame, media_time_us: crate::source::times::index_time_us(frame, self.config.fps), objects }
    }

    fn bodies(&self, frame: u64) -> Vec<paint::Body> {
        let seconds = frame as f64 / self.config.fps;
        let movers = match &self.signals {
            Some(signals) => {
                let mut movers = traffic::people(&self.config, seconds);
                signals.movers(seconds, &mut movers);
                movers
            }
            None => traffic::movers(&self.config, seconds),
        };
        movers.into_iter().filter_map(|mover| paint::body(mover, &self.camera)).collect()
    }
}

/// A pinhole camera without roll or yaw over the origin of the ground.
pub(crate) struct Camera {
    /// Focal length in pixels.
    focal: f64,
    /// Principal point in pixels; pixel centres are at half-integers.
    centre: [f64; 2],
    height_m: f64,
    sin_pitch: f64,
    cos_pitch: f64,
}

impl Camera {
    /// Sees the road from about 17 m on, and some sky.
    fn over_the_road(size: Size) -> Self {
        let (width, height) = (f64::from(size.width), f64::from(size.height));
        // By the height, so that the horizon is at the same place in every aspect.
        let focal = 1.5 * height;
        let pitch = 13.5_f64.to_radians();
        Self {
            focal,
            centre: [width / 2.0, height / 2.0],
            height_m: 10.0,
            sin_pitch: pitch.sin(),
            cos_pitch: pitch.cos(),
        }
    }

    /// Where a point in metres appears, in pixels; none where it is behind the camera.
    pub(crate) fn image_of(&self, [x, y, z]: [f64; 3]) -> Option<[f64; 2]> {
        let below = self.height_m - z;
        let depth = y * self.cos_pitch + below * self.sin_pitch;
        let down = below * self.cos_pitch - y * self.sin_pitch;
        (depth > 0.5)
            .then(|| [self.centre[0] + self.focal * x / depth, self.centre[1] + self.focal * down / depth])
    }

    /// The ground point that a pixel shows, in metres; none from the horizon up.
    pub(crate) fn ground_of(&self, [u, v]: [f64; 2]) -> Option<[f64; 2]> {
        let (right, down) = ((u - self.centre[0]) / self.focal, (v - self.centre[1]) / self.focal);
        let fall = self.sin_pitch + down * self.cos_pitch;
        (fall > 1e-6).then(|| {
            let reach = self.height_m / fall;
            [right * reach, reach * (self.cos_pitch - down * self.sin_pitch)]
        })
    }

    /// The row of the horizon, pixels.
    pub(crate) fn horizon(&self) -> f64 {
        self.centre[1] - self.focal * self.sin_pitch / self.cos_pitch
    }

    /// The homography from pixels to ground metres: `ground_of` written as a matrix.
    fn world_from_image(&self) -> [[f64; 3]; 3] {
        let Self { focal, centre: [cx, cy], height_m, sin_pitch, cos_pitch } = *self;
        [
            [height_m, 0.0, -height_m * cx],
            [0.0, -height_m * sin_pitch, height_m * (focal * cos_pitch + cy * sin_pitch)],
            [0.0, cos_pitch, focal * sin_pitch - cy * cos_pitch],
        ]
    }
}

/// The share of a box that lies outside the picture or under nearer boxes, on a grid of points.
fn hidden_share(xyxy: [f64; 4], nearer: &[[f64; 4]], size: [f64; 2]) -> f64 {
    const GRID: usize = 12;
    let inside = |p: [f64; 2], b: &[f64; 4]| p[0] >= b[0] && p[0] < b[2] && p[1] >= b[1] && p[1] < b[3];
    let picture = [0.0, 0.0, size[0], size[1]];
    let mut hidden = 0;
    for i in 0..GRID * GRID {
        let at = |low: f64, high: f64, step: usize| low + (high - low) * (step as f64 + 0.5) / GRID as f64;
        let point = [at(xyxy[0], xyxy[2], i % GRID), at(xyxy[1], xyxy[3], i / GRID)];
        if !inside(point, &picture) || nearer.iter().any(|b| inside(point, b)) {
            hidden += 1;
        }
    }
    f64::from(hidden) / (GRID * GRID) as f64
}

/// Cells of the frame number's strip.
pub(crate) const CELLS: usize = 32;
/// The strip's height is the picture's over this.
pub(crate) const STRIP: usize = 24;
const NUMBER_BITS: u32 = 24;

/// The cells' values from left to right; true is white.
fn number_cells(number: u32) -> [bool; CELLS] {
    let word = number << 6 | checksum(number);
    let mut cells = [false; CELLS];
    cells[0] = true;
    for (i, cell) in cells[2..].iter_mut().enumerate() {
        *cell = word >> (29 - i) & 1 == 1;
    }
    cells
}

fn checksum(number: u32) -> u32 {
    (0..4).fold(42, |sum, group| sum ^ (number >> (6 * group) & 63))
}

/// The frame number (modulo 2^24) that a picture of a scene carries in its pixels, also after JPEG and resizing down to
/// 320 columns; none where the picture carries none.
pub fn read_frame_number(picture: &Picture) -> Option<u32> {
    let [luma, ..] = picture.planes();
    let (width, height) = (luma.width as f64, luma.height as f64);
    let strip = height / STRIP as f64;
    let rows = (strip * 0.3).floor() as usize..((strip * 0.7).ceil() as usize).max(1);
    let mut means = [0.0_f64; CELLS];
    for (i, mean) in means.iter_mut().enumerate() {
        let column = |share: f64| ((i as f64 + share) * width / CELLS as f64) as usize;
        let columns = column(0.3)..column(0.7).max(column(0.3) + 1);
        let (mut sum, mut count) = (0.0, 0.0);
        for y in rows.clone() {
            for value in luma.row(y).get(columns.clone())? {
                sum += f64::from(*value);
                count += 1.0;
            }
        }
        *mean = sum / f64::max(count, 1.0);
    }
    let (white, black) = (means[0], means[1]);
    if white - black < 80.0 {
        return None;
    }
    let mut word = 0_u32;
    for mean in &means[2..] {
        // A cell that is neither black nor white is no cell of ours.
        let level = (mean - black) / (white - black);
        if !(-0.3..=0.3).contains(&level) && !(0.7..=1.3).contains(&level) {
            return None;
        }
        word = word << 1 | u32::from(level > 0.5);
    }
    let number = word >> 6;
    (word & 63 == checksum(number)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homography_and_projection_disagree() {
        let camera = Camera::over_the_road(Size { width: 768, height: 432 });
        let h = camera.world_from_image();
        for ground in [[-5.5, 18.0], [0.0, 30.0], [5.5, 85.0]] {
            let [u, v] = camera.image_of([ground[0], ground[1], 0.0]).unwrap();
            let row = |r: [f64; 3]| r[0] * u + r[1] * v + r[2];
            let back = [row(h[0]) / row(h[2]), row(h[1]) / row(h[2])];
            let direct = camera.ground_of([u, v]).unwrap();
            for found in [back, direct] {
                let error = (found[0] - ground[0]).hypot(found[1] - ground[1]);
                assert!(error < 1e-9, "{ground:?} came back as {found:?}");
            }
        }
    }

    #[test]
    fn foot_point_is_not_the_bottom_centre_of_the_box() {
        let scene = |signals| {
            Scene::new(SceneConfig { vehicles: 20, people: 8, signals, ..SceneConfig::default() }).unwrap()
        };
        let mut seen = 0;
        for (scene, frame) in
            [scene(false), scene(true)].iter().flat_map(|s| (0..1500).step_by(7).map(move |f| (s, f)))
        {
            for object in scene.truth(frame).objects {
                let [left, _, right, bottom] = object.xyxy;
                let ground = scene.camera.ground_of([(left + right) / 2.0, bottom]).unwrap();
                let error = (ground[0] - object.ground_m[0]).hypot(ground[1] - object.ground_m[1]);
                assert!(error < 1e-6, "frame {frame}: off by {error} m: {object:?}");
                seen += 1;
            }
        }
        assert!(seen > 1000, "only {seen} objects");
    }

    #[test]
    fn true_speed_is_not_the_foot_points_displacement() {
        let scene = |signals| {
            Scene::new(SceneConfig { vehicles: 16, fps: 100.0, signals, ..SceneConfig::default() }).unwrap()
        };
        let (mut stopped, mut fast, mut compared) = (false, false, 0);
        for (scene, frame) in [scene(false), scene(true)].iter().flat_map(|s| (0..3000).map(move |f| (s, f)))
        {
            let (a, b) = (scene.truth(frame), scene.truth(frame + 1));
            for before in &a.objects {
                let Some(after) = b.objects.iter().find(|object| object.id == before.id) else { continue };
                let [dx, dy] = [0, 1].map(|i| after.ground_m[i] - before.ground_m[i]);
                let measured = dx.hypot(dy) * 100.0;
                let stated = (before.speed_mps + after.speed_mps) / 2.0;
                assert!((measured - stated).abs() < 0.02, "frame {frame}: {measured} for {stated}");
                stopped |= stated < 0.01;
                fast |= stated > 15.0;
                compared += 1;
            }
        }
        assert!(stopped && fast && compared > 5000, "{stopped} {fast} {compared}");
    }

    #[test]
    fn vehicles_drive_through_each_other() {
        for seed in 0..5 {
            let config = SceneConfig { vehicles: 24, people: 0, seed, ..SceneConfig::default() };
            for tenth in 0..1200 {
                let movers = traffic::movers(&config, f64::from(tenth) / 10.0);
                for (i, a) in movers.iter().enumerate() {
                    for b in &movers[..i] {
                        let same_lane = (a.ground_m[0] - b.ground_m[0]).abs() < 1.5;
                        let gap = (a.ground_m[1] - b.ground_m[1]).abs();
                        let (near, far) = if a.ground_m[1] < b.ground_m[1] { (a, b) } else { (b, a) };
                        assert!(!same_lane || gap > near.class.length_m(), "seed {seed}: {near:?} {far:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn signals_do_not_queue_start_and_turn_vehicles_or_they_collide() {
        use std::collections::BTreeMap;
        for seed in 0..4 {
            let signals = Signals::new(seed, 24);
            let mut lives: BTreeMap<u64, Vec<traffic::Mover>> = BTreeMap::new();
            for tenth in 0..1300 {
                let mut movers = Vec::new();
                signals.movers(f64::from(tenth) / 10.0, &mut movers);
                for (i, a) in movers.iter().enumerate() {
                    for b in &movers[..i] {
                        let same_lane = a.id % 8 == b.id % 8 && a.heading_rad == b.heading_rad;
                        let gap = (a.ground_m[1] - b.ground_m[1]).abs();
                        let turned = a.heading_rad.abs() > 1.6;
                        let (near, far) = if a.ground_m[1] < b.ground_m[1] { (a, b) } else { (b, a) };
                        assert!(
                            !same_lane || turned || gap > near.class.length_m(),
                            "seed {seed}: {near:?} {far:?}"
                        );
                    }
                    lives.entry(a.id).or_default().push(*a);
                }
            }
            let whole = lives.values().filter(|life| life.len() > 100);
            let (mut queued, mut turned, mut passed) = (0, 0, 0);
            for life in whole {
                let stood = life.iter().filter(|mover| mover.speed_mps < 0.3).count() > 20;
                let fast = life.iter().all(|mover| mover.speed_mps > 8.0);
                queued += usize::from(stood && life.iter().any(|mover| mover.speed_mps > 5.0));
                passed += usize::from(fast);
                turned += usize::from(life.iter().any(|mover| mover.heading_rad < -3.0));
            }
            assert!(queued > 20 && turned > 10 && passed > 5, "seed {seed}: {queued}, {turned}, {passed}");
        }
    }

    #[test]
    fn frame_number_is_not_read_back() {
        for (width, height) in [(768, 432), (320, 180), (1280, 720), (160, 96)] {
            let size = Size { width, height };
            let scene = Scene::new(SceneConfig { size, ..SceneConfig::default() }).unwrap();
            for frame in [0, 1, 2, 1023, 65_535, (1 << 24) - 1] {
                assert_eq!(read_frame_number(&scene.render(frame)), Some(frame as u32), "{size}");
            }
        }
    }

    #[test]
    fn number_is_read_where_there_is_none() {
        let size = Size { width: 320, height: 180 };
        let grey = Picture::from_i420(size, COLOUR, vec![128; tight_len(size)]).unwrap();
        assert_eq!(read_frame_number(&grey), None);
        // A sign torn at one cell.
        let scene = Scene::new(SceneConfig::default()).unwrap();
        let picture = scene.render(77);
        let mut bytes: Vec<u8> =
            picture.planes().iter().flat_map(|p| (0..p.height).flat_map(|y| p.row(y).to_vec())).collect();
        for y in 0..18 {
            for x in 0..24 {
                let at = y * 768 + 10 * 24 + x;
                bytes[at] = 251 - bytes[at];
            }
        }
        let torn = Picture::from_i420(picture.size(), COLOUR, bytes).unwrap();
        assert_eq!(read_frame_number(&torn), None);
    }

    #[test]
    fn same_seed_gives_other_pixels() {
        let scene = || Scene::new(SceneConfig::default()).unwrap();
        let bytes =
            |p: &Picture| p.planes().iter().map(|plane| plane.data.to_vec()).collect::<Vec<_>>().concat();
        assert_eq!(bytes(&scene().render(321)), bytes(&scene().render(321)));
        assert_ne!(bytes(&scene().render(321)), bytes(&scene().render(322)));
    }

    #[test]
    fn bad_scene_address_is_accepted() {
        for text in [
            "rod",
            "road?w",
            "road?w=ten",
            "road?w=161",
            "road?speed=3",
            "road?fps=0",
            "road?fps=NaN",
            "road?vehicles=99",
            "road?signals=yes",
        ] {
            assert!(SceneConfig::parse(text).is_err(), "{text}");
        }
        let config =
            SceneConfig::parse("road?w=320&h=240&fps=12.5&frames=9&vehicles=3&people=0&seed=7&signals=1")
                .unwrap();
        assert_eq!((config.size.width, config.frames, config.seed, config.fps), (320, 9, 7, 12.5));
        assert!(config.signals);
    }
}
