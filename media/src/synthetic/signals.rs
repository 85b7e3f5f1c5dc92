//! Traffic at an intersection: signals that go red and green, queues, and a side road into which vehicles turn.
//!
//! Vehicles follow each other by the Intelligent Driver Model (Treiber, Hennecke, Helbing 2000, Phys. Rev. E 62, 1805);
//! a red signal is a standing vehicle of no length at the stop line. A driver reaches the acceleration that the model
//! asks for with a lag. Each driver has a desired speed, an acceleration and a deceleration of their own.
//!
//! | lane | direction | what happens |
//! |---|---|---|
//! | 0 | oncoming | no signal; slows down and turns right at 36 m |
//! | 1 | oncoming | stops at a signal 28 m away, and goes on |
//! | 2 | leaving | brakes for a signal 75 m away |
//! | 3 | leaving | starts at a signal under the camera and accelerates through the picture |
//!
//! Those who come while a signal is green drive on. The signals' cycles repeat; some of them are simulated when the
//! scene is made, and used in turn, each time with other vehicles in the same places.

use std::f64::consts::{FRAC_PI_2, PI};

use super::traffic::{Class, LANES_M, Mover, lot};

/// Seconds from one red to the next, and of red.
const CYCLE_S: f64 = 44.0;
const RED_S: f64 = 14.0;
/// Cycles that are simulated.
const PATTERNS: u64 = 8;
/// Step of the simulation; within a step the acceleration is constant.
const STEP_S: f64 = 0.1;
/// A vehicle has left the road after this time at the latest.
const LONGEST_S: f64 = 60.0;
/// Where vehicles come and go: distance along the road, metres.
const ROAD_M: [f64; 2] = [-80.0, 140.0];
/// Where each lane's signal is, metres from the camera.
const STOP_LINES_M: [Option<f64>; 4] = [None, Some(28.0), Some(75.0), Some(4.0)];
/// Where lane 0 turns, and the radius of its turn, metres.
const TURN_M: f64 = 36.0;
const TURN_RADIUS_M: f64 = 10.0;
/// The road that lane 0 turns into lies between these, metres from the camera.
pub(crate) const SIDE_ROAD_M: std::ops::Range<f64> = 23.0..32.0;
/// The model's gap at rest, metres, and its time headway, seconds.
const GAP_M: f64 = 2.0;
const HEADWAY_S: f64 = 1.2;
/// The slowest desired speed, metres per second.
const SLOWEST_MPS: f64 = 11.0;
/// How long a driver takes to reach the acceleration that the model asks for, seconds.
const LAG_S: f64 = 0.4;
/// Hardest braking for a red signal, m/s²: a driver who would need more drives on.
const HARDEST_BRAKING: f64 = 3.5;
/// Braking before the turn, m/s².
const TURN_BRAKING: f64 = 1.5;

/// All vehicles of the simulated cycles.
pub(crate) struct Signals {
    seed: u64,
    drives: Vec<Vec<Drive>>,
}

/// One vehicle's way through the scene.
struct Drive {
    lane: usize,
    nth: u64,
    class: Class,
    aside_m: f64,
    /// When it comes, seconds after the cycle's begin.
    begin_s: f64,
    steps: Vec<Step>,
}

/// Where a vehicle's foot point is on its way, and how it moves until the next step.
#[derive(Debug, Clone, Copy)]
struct Step {
    way: f64,
    speed: f64,
    acceleration: f64,
}

impl Step {
    fn after(self, seconds: f64) -> Self {
        Self {
            way: self.way + seconds * (self.speed + self.acceleration * seconds / 2.0),
            speed: (self.speed + self.acceleration * seconds).max(0.0),
            ..self
        }
    }
}

/// A driver's parameters in the model.
struct Driver {
    desired_mps: f64,
    acceleration: f64,
    deceleration: f64,
    /// Speed in the turn.
    turn_mps: f64,
}

impl Signals {
    /// About so many `vehicles` on the road at a time.
    pub(crate) fn new(seed: u64, vehicles: u32) -> Self {
        let cycle = |pattern| {
            (0..LANES_M.len()).flat_map(|lane| lane_drives(seed, pattern, lane, vehicles)).collect()
        };
        Self { seed, drives: (0..PATTERNS).map(cycle).collect() }
    }

    /// Every vehicle on the road at this moment.
    pub(crate) fn movers(&self, seconds: f64, found: &mut Vec<Mover>) {
        // Time begins with traffic under way.
        let now = seconds + 3.0 * CYCLE_S;
        let current = (now / CYCLE_S) as u64;
        let earliest = current - (LONGEST_S / CYCLE_S).ceil() as u64;
        for cycle in earliest..=current + 1 {
            let begin = cycle as f64 * CYCLE_S;
            for drive in &self.drives[(cycle % PATTERNS) as usize] {
                let Some(step) = drive.at(now - begin) else { continue };
                let id = ((cycle * 16 + drive.nth) * 8 + drive.lane as u64) + 1;
                let (place, heading_rad) = place(drive.lane, step.way);
                found.push(Mover {
                    id,
                    class: drive.class,
                    ground_m: [place[0] + drive.aside_m, place[1]],
                    speed_mps: step.speed,
                    heading_rad,
                    paint: (lot(self.seed, 46, id) * 1000.0) as u32,
                    gait: 0.0,
                });
            }
        }
    }
}

impl Drive {
    /// None before it comes and after it has left.
    fn at(&self, seconds: f64) -> Option<Step> {
        let passed = (seconds - self.begin_s) / STEP_S;
        let step = self.steps.get(passed.floor().max(-1.0) as i64 as usize)?;
        Some(step.after(passed.fract() * STEP_S))
    }
}

/// The foot point and the heading after so many metres. Lane 0 goes straight, then a quarter of a circle, then straight
/// into the side road.
fn place(lane: usize, way: f64) -> ([f64; 2], f64) {
    let x = LANES_M[lane];
    if lane >= 2 {
        return ([x, ROAD_M[0] + way], FRAC_PI_2);
    }
    let turn = way - (ROAD_M[1] - TURN_M);
    if lane == 1 || turn <= 0.0 {
        return ([x, ROAD_M[1] - way], -FRAC_PI_2);
    }
    let (arc, r) = (TURN_RADIUS_M * FRAC_PI_2, TURN_RADIUS_M);
    if turn >= arc {
        return ([x - r - (turn - arc), TURN_M - r], -PI);
    }
    let (sin, cos) = (turn / r).sin_cos();
    ([x - r + r * cos, TURN_M - r * sin], -FRAC_PI_2 - turn / r)
}

/// Where the lane's signal is on the way of its vehicles.
fn stop_line(lane: usize) -> Option<f64> {
    let at = STOP_LINES_M[lane]?;
    Some(if lane < 2 { ROAD_M[1] - at } else { at - ROAD_M[0] })
}

/// The vehicles of one lane that come in one cycle, the first first.
fn lane_drives(seed: u64, pattern: u64, lane: usize, vehicles: u32) -> Vec<Drive> {
    let key = |nth: u64| (pattern * 4 + lane as u64) << 8 | nth;
    let wanted = f64::from(vehicles) * (0.3 + 0.3 * lot(seed, 40, key(0)));
    let count = if vehicles == 0 { 0 } else { (wanted.round() as u64).clamp(1, 7) };
    let all_in_s = if stop_line(lane).is_some() { 18.0 } else { CYCLE_S - 4.0 };
    let spacing = all_in_s / count.max(1) as f64;
    let mut drives: Vec<Drive> = Vec::new();
    for nth in 0..count {
        let between = |what: u64, low: f64, high: f64| low + (high - low) * lot(seed, what, key(nth));
        let driver = Driver {
            desired_mps: between(41, SLOWEST_MPS, 15.0),
            acceleration: between(42, 1.2, 1.8),
            deceleration: between(43, 1.5, 2.2),
            turn_mps: between(47, 4.0, 5.2),
        };
        let class = match lot(seed, 44, key(nth)) {
            share if share < 0.08 && lane != 0 => Class::Truck,
            share if share < 0.13 && lane != 0 => Class::Bus,
            _ => Class::Car,
        };
        // Where there is a signal, the first passes before it is red, the others see early that it is, and the last is
        // through long before the next cycle's first. Without one, they come all the time.
        let late = spacing * (nth as f64 + between(48, 0.0, 0.4));
        let at_line = match (stop_line(lane), nth) {
            (Some(_), 0) => between(48, -3.0, -1.0),
            (Some(_), _) => 5.0 + late - spacing,
            (None, _) => late,
        };
        let way = stop_line(lane).unwrap_or(ROAD_M[1] - TURN_M);
        let mut begin_s = at_line - way / driver.desired_mps;
        if let Some(leader) = drives.last() {
            let length_m = class.length_m().max(leader.class.length_m());
            begin_s = begin_s.max(leader.begin_s + HEADWAY_S + (GAP_M + length_m) / SLOWEST_MPS);
        }
        let mut drive =
            Drive { lane, nth, class, aside_m: 0.5 * (between(45, -0.5, 0.5)), begin_s, steps: Vec::new() };
        drive.steps = drive.follow(&driver, drives.last());
        drives.push(drive);
    }
    drives
}

impl Drive {
    fn follow(&self, driver: &Driver, leader: Option<&Self>) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut now = Step { way: 0.0, speed: driver.desired_mps, acceleration: 0.0 };
        let oncoming = self.lane < 2;
        // The foot point is the front of an oncoming vehicle and the rear of a leaving one.
        let ahead = if oncoming { 0.0 } else { self.class.length_m() };
        while now.way < ROAD_M[1] - ROAD_M[0] && steps.len() < (LONGEST_S / STEP_S) as usize {
            let time = self.begin_s + steps.len() as f64 * STEP_S;
            let gap_to_leader = leader.and_then(|leader| {
                let step = leader.at(time)?;
                let rear = step.way - if oncoming { leader.class.length_m() } else { 0.0 };
                Some((rear - now.way - ahead, step.speed))
            });
            let gap_to_line = stop_line(self.lane).and_then(|line| {
                let gap = line - now.way - ahead;
                let red = (0.0..RED_S).contains(&time.rem_euclid(CYCLE_S));
                let stops = now.speed * now.speed < 2.0 * HARDEST_BRAKING * gap;
                (red && gap > 0.0 && stops).then_some((gap, 0.0))
            });
            let wanted = [gap_to_leader, gap_to_line]
                .into_iter()
                .flatten()
                .map(|(gap, speed)| driver.acceleration(now, self.limit(now.way, driver), Some((gap, speed))))
                .fold(driver.acceleration(now, self.limit(now.way, driver), None), f64::min);
            now.acceleration += (wanted - now.acceleration) * STEP_S / LAG_S;
            // It stands at the end of a step, never goes back.
            now.acceleration = now.acceleration.max(-now.speed / STEP_S);
            steps.push(now);
            now = now.after(STEP_S);
        }
        steps
    }

    /// The speed that a driver wants to have at a place.
    fn limit(&self, way: f64, driver: &Driver) -> f64 {
        let turn = ROAD_M[1] - TURN_M;
        if self.lane != 0 || way > turn + TURN_RADIUS_M * FRAC_PI_2 {
            return driver.desired_mps;
        }
        let slowed = driver.turn_mps.powi(2) + 2.0 * TURN_BRAKING * (turn - way).max(0.0);
        slowed.sqrt().min(driver.desired_mps)
    }
}

impl Driver {
    /// The model's acceleration with a gap to a leader, metres, and the leader's speed.
    fn acceleration(&self, now: Step, limit: f64, leader: Option<(f64, f64)>) -> f64 {
        let free = 1.0 - (now.speed / limit).powi(4);
        let following = leader.map_or(0.0, |(gap, speed)| {
            let closing =
                now.speed * (now.speed - speed) / (2.0 * (self.acceleration * self.deceleration).sqrt());
            let wanted = GAP_M + (now.speed * HEADWAY_S + closing).max(0.0);
            (wanted / gap.max(0.1)).powi(2)
        });
        (self.acceleration * (free - following)).max(-8.0)
    }
}
