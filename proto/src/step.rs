//! Steps: the state of a simulator or a robot, made elsewhere and shown from above.

use std::{collections::BTreeMap, fmt::Display};

use serde_bytes::ByteBuf;

use crate::{
    CameraId, FrameId, FrameResult, OLDEST_SCHEMA, SCHEMA, Size, codec::Checked, is_read, is_readable_line,
    wire_struct,
};

/// The name of a stream of steps: of the same form as a camera's. Neither lies under the other's keys.
pub type StreamId = CameraId;

/// Most objects in a step.
pub const MOST_OBJECTS: usize = 1000;
/// Most points of a planned path.
pub const MOST_PATH_POINTS: usize = 1000;
/// Most component times, and most scalars.
pub const MOST_NAMED_VALUES: usize = 64;
/// Longest name of a class, a component, a scalar or a kind of line, bytes.
pub const LONGEST_NAME: usize = 64;
/// Most points of a map, over all its lines.
pub const MOST_MAP_POINTS: usize = 50_000;
/// Most columns, and most rows, of a result's source.
pub const LONGEST_SIDE: u32 = 16_384;
/// Farthest from the origin that anything may be, metres: a quarter of the way round the Earth.
pub const FARTHEST_M: f64 = 1e7;

wire_struct! {
    /// The vehicle or robot itself. Metres and radians, z up.
    #[derive(Copy)]
    pub struct Ego {
        /// Position of its middle, metres.
        pub x: f64,
        /// Position of its middle, metres.
        pub y: f64,
        /// Where it points, radians from +x towards +y.
        pub heading: f64,
        /// Speed, metres per second.
        pub speed_mps: f64,
        /// Length along the heading and width, metres.
        pub size: [f64; 2],
    }
}

wire_struct! {
    /// Something near it.
    pub struct StepObject {
        /// The same for the same object from step to step.
        pub id: u32,
        /// What it is, such as `car`: chooses its colour.
        pub class: String,
        /// Position of its middle, metres.
        pub x: f64,
        /// Position of its middle, metres.
        pub y: f64,
        /// Where it points, radians from +x towards +y.
        pub heading: f64,
        /// Speed, metres per second.
        pub speed_mps: f64,
        /// Length along the heading and width, metres.
        pub size: [f64; 2],
    }
}

wire_struct! {
    /// A line of the map.
    pub struct MapLine {
        /// What it is: `lane` (dashed), `edge` or `area` (filled); anything else is a thin line.
        pub kind: String,
        /// Its points in order, metres.
        pub points: Vec<[f64; 2]>,
    }
}

wire_struct! {
    /// What does not move.
    pub struct StepMap {
        /// At most 50,000 points in all.
        pub lines: Vec<MapLine>,
    }
}

wire_struct! {
    /// The state of a simulator or a robot at one moment. Metres and radians, z up; what is not there is not shown.
    pub struct Step {
        /// Its number.
        pub step: u64,
        /// The simulated time, microseconds.
        pub sim_time_us: i64,
        /// The wall clock of whoever made it, microseconds since the Unix epoch; the gateway puts its own where it is 0.
        #[serde(default)]
        pub wall_time_us: i64,
        /// The vehicle or robot itself.
        #[serde(default)]
        pub ego: Option<Ego>,
        /// The planned path: x and y in metres, and the seconds from this step on. At most 1000 points.
        #[serde(default)]
        pub trajectory: Vec<[f64; 3]>,
        /// What is near, at most 1000.
        #[serde(default)]
        pub objects: Vec<StepObject>,
        /// What each component took, microseconds; at most 64.
        #[serde(default)]
        pub timings_us: BTreeMap<String, f64>,
        /// Any other numbers by name, at most 64.
        #[serde(default)]
        pub scalars: BTreeMap<String, f64>,
        /// What does not move: sent once, with the first step, and again when it changes. The gateway keeps it apart.
        #[serde(default)]
        pub map: Option<StepMap>,
        /// A result that was made elsewhere: its boxes are shown without a picture, and nothing from above. At most 1000
        /// detections and 1000 tracks; its classes have no names.
        #[serde(default)]
        pub result: Option<FrameResult>,
    }
}

wire_struct! {
    /// Choose whose steps to receive. A later one replaces it.
    pub struct SubscribeSteps {
        /// The streams; empty for none.
        pub streams: Vec<StreamId>,
    }
}

wire_struct! {
    /// What the gateway knows of a stream of steps.
    pub struct StreamState {
        /// The stream.
        pub stream: StreamId,
        /// Whether steps came in the last seconds.
        pub live: bool,
    }
}

wire_struct! {
    /// All streams of steps; sent after connecting and whenever one comes, falls silent or goes.
    pub struct Streams {
        /// One entry a stream, sorted by name.
        pub streams: Vec<StreamState>,
    }
}

wire_struct! {
    /// A step.
    pub struct StepMessage {
        /// The stream.
        pub stream: StreamId,
        /// Its id in the stream: when it was taken, milliseconds since the Unix epoch, and a sequence.
        pub id: FrameId,
        /// When the gateway saw it in the stream, microseconds since the Unix epoch.
        pub seen_at_us: i64,
        /// An encoded `Step` without its map, as it stands in the stream.
        #[serde(with = "crate::readable::step")]
        pub step: ByteBuf,
    }
}

wire_struct! {
    /// The map of a stream: before its first step, and again when it changes.
    pub struct StepMapMessage {
        /// The stream.
        pub stream: StreamId,
        /// An encoded `StepMap`.
        #[serde(with = "crate::readable::step_map")]
        pub map: ByteBuf,
    }
}

impl Checked for Step {
    const NAME: &'static str = "step";

    fn check(&self) -> Result<(), String> {
        at_most("trajectory", "points", self.trajectory.len(), MOST_PATH_POINTS)?;
        at_most("objects", "objects", self.objects.len(), MOST_OBJECTS)?;
        if let Some(ego) = &self.ego {
            let Ego { x, y, heading, speed_mps, size } = *ego;
            check_body("ego", [x, y, heading, speed_mps], size)?;
        }
        for (i, point) in self.trajectory.iter().enumerate() {
            let [x, y, t] = *point;
            let fine = x.abs() <= FARTHEST_M && y.abs() <= FARTHEST_M && t.is_finite();
            if !fine {
                return Err(format!("trajectory[{i}] is [{x}, {y}, {t}]: {PLACE_HELP}"));
            }
        }
        for (i, object) in self.objects.iter().enumerate() {
            let StepObject { class, x, y, heading, speed_mps, size, .. } = object;
            check_name(format_args!("objects[{i}].class"), class)?;
            check_body(format_args!("objects[{i}]"), [*x, *y, *heading, *speed_mps], *size)?;
        }
        check_named("timings_us", &self.timings_us)?;
        check_named("scalars", &self.scalars)?;
        self.result.as_ref().map_or(Ok(()), check_result)?;
        self.map.as_ref().map_or(Ok(()), StepMap::check)
    }
}

impl Checked for StepMap {
    const NAME: &'static str = "map";

    fn check(&self) -> Result<(), String> {
        at_most("map.lines", "points", self.lines.iter().map(|l| l.points.len()).sum(), MOST_MAP_POINTS)?;
        for (i, line) in self.lines.iter().enumerate() {
            check_name(format_args!("map.lines[{i}].kind"), &line.kind)?;
            let far = |[x, y]: &[f64; 2]| !(x.abs() <= FARTHEST_M && y.abs() <= FARTHEST_M);
            if let Some(at) = line.points.iter().position(far) {
                return Err(format!("map.lines[{i}].points[{at}] is {:?}: {PLACE_HELP}", line.points[at]));
            }
        }
        Ok(())
    }
}

const PLACE_HELP: &str = "use finite metres, at most 10,000 km from the origin";

/// Position, heading and speed of a body, and its size. Comparisons are such that NaN is out of range.
fn check_body(
    what: impl Display,
    [x, y, heading, speed_mps]: [f64; 4],
    size: [f64; 2],
) -> Result<(), String> {
    for (name, value) in [("x", x), ("y", y)] {
        if !(-FARTHEST_M..=FARTHEST_M).contains(&value) {
            return Err(format!("{what}.{name} is {value}: {PLACE_HELP}"));
        }
    }
    for (name, value) in [("heading", heading), ("speed_mps", speed_mps)] {
        if !value.is_finite() {
            return Err(format!("{what}.{name} is {value}: use a finite number"));
        }
    }
    if !size.iter().all(|side| (0.0..=1000.0).contains(side)) {
        return Err(format!("{what}.size is {size:?}: use length and width in metres, 0 to 1000"));
    }
    Ok(())
}

fn check_result(result: &FrameResult) -> Result<(), String> {
    let Size { width, height } = result.source;
    if !is_read(result.schema) {
        return Err(format!(
            "result.schema is {}: this build reads {OLDEST_SCHEMA} to {SCHEMA}",
            result.schema
        ));
    }
    if !(1..=LONGEST_SIDE).contains(&width) || !(1..=LONGEST_SIDE).contains(&height) {
        return Err(format!("result.source is {width}x{height}: use 1x1 to {LONGEST_SIDE}x{LONGEST_SIDE}"));
    }
    at_most("result.detections", "detections", result.detections.len(), MOST_OBJECTS)?;
    at_most("result.tracks", "tracks", result.tracks.len(), MOST_OBJECTS)?;
    at_most("result.stages", "stages", result.stages.len(), MOST_NAMED_VALUES)?;
    at_most("result.lost", "reasons", result.lost.len(), MOST_NAMED_VALUES)?;
    let boxes =
        result.detections.iter().map(|seen| seen.xyxy).chain(result.tracks.iter().map(|track| track.xyxy));
    for xyxy in boxes {
        if !xyxy.iter().all(|edge| edge.abs() <= FARTHEST_M as f32) {
            return Err(format!("result has the box {xyxy:?}: use finite pixels of the source"));
        }
    }
    Ok(())
}

fn check_named(what: &str, values: &BTreeMap<String, f64>) -> Result<(), String> {
    at_most(what, "values", values.len(), MOST_NAMED_VALUES)?;
    for (name, value) in values {
        check_name(what, name)?;
        if !value.is_finite() {
            return Err(format!("{what}.{name} is {value}: use a finite number, or leave it out"));
        }
    }
    Ok(())
}

/// Names are shown to people and are keys of maps in browsers: `__proto__` is none.
fn check_name(what: impl Display, name: &str) -> Result<(), String> {
    let fine = name.starts_with(char::is_alphanumeric)
        && name.len() <= LONGEST_NAME
        && is_readable_line(name, LONGEST_NAME);
    if fine {
        return Ok(());
    }
    let shown: String = name.chars().take(LONGEST_NAME).collect();
    Err(format!(
        "{what} has the name {shown:?}: start it with a letter or digit, {LONGEST_NAME} bytes at most"
    ))
}

fn at_most(what: &str, things: &str, found: usize, most: usize) -> Result<(), String> {
    if found <= most { Ok(()) } else { Err(format!("{what} has {found} {things}: send at most {most}")) }
}
