//! Who is where at which moment.

use super::SceneConfig;

/// Objects further away are drawn but not part of the truth, metres.
pub(crate) const FAR_M: f64 = 85.0;
/// Vehicles come and go beyond what can be seen, metres.
const ROAD_M: [f64; 2] = [2.0, 130.0];
/// Middle of each lane, metres.
pub(crate) const LANES_M: [f64; 4] = [-5.25, -1.75, 1.75, 5.25];
/// Middle of the pavements, metres.
pub(crate) const PAVEMENTS_M: [f64; 2] = [-9.4, 9.4];

/// What kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Car,
    Truck,
    Bus,
    Person,
}

impl Class {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Car => "car",
            Self::Truck => "truck",
            Self::Bus => "bus",
            Self::Person => "person",
        }
    }

    pub(crate) fn length_m(self) -> f64 {
        match self {
            Self::Car => 4.4,
            Self::Truck => 7.5,
            Self::Bus => 10.5,
            Self::Person => 0.4,
        }
    }
}

/// An object at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mover {
    pub(crate) id: u64,
    pub(crate) class: Class,
    pub(crate) ground_m: [f64; 2],
    pub(crate) speed_mps: f64,
    pub(crate) heading_rad: f64,
    /// Which of its class's colours it has.
    pub(crate) paint: u32,
    /// Where it is in its step, radians.
    pub(crate) gait: f64,
}

/// How the vehicles of a lane drive. All in a lane drive alike but for a few percent, so that none runs into another.
#[derive(Debug, Clone, Copy)]
enum Manner {
    Cruise { speed: f64 },
    Accelerate { from: f64, to: f64, rate: f64, after_m: f64 },
    Brake { from: f64, to: f64, rate: f64, after_m: f64 },
    Stop { speed: f64, brake: f64, wait_s: f64, rate: f64, at_m: f64 },
}

/// A stretch of constant acceleration; it begins at rest at no time other than the profile's.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    seconds: f64,
    speed: f64,
    acceleration: f64,
}

impl Manner {
    /// The stretches from the beginning of the road; the last one lasts.
    fn stretches(self) -> Vec<Stretch> {
        let steady = |seconds, speed| Stretch { seconds, speed, acceleration: 0.0 };
        let change = |from: f64, to: f64, rate: f64| Stretch {
            seconds: (to - from).abs() / rate,
            speed: from,
            acceleration: rate.copysign(to - from),
        };
        match self {
            Self::Cruise { speed } => vec![steady(f64::INFINITY, speed)],
            Self::Accelerate { from, to, rate, after_m } | Self::Brake { from, to, rate, after_m } => {
                vec![steady(after_m / from, from), change(from, to, rate), steady(f64::INFINITY, to)]
            }
            Self::Stop { speed, brake, wait_s, rate, at_m } => {
                let braking = speed * speed / (2.0 * brake);
                vec![
                    steady((at_m - braking) / speed, speed),
                    change(speed, 0.0, brake),
                    steady(wait_s, 0.0),
                    change(0.0, speed, rate),
                    steady(f64::INFINITY, speed),
                ]
            }
        }
    }

    /// Way and speed so many seconds after the beginning of the road.
    fn at(self, mut seconds: f64) -> (f64, f64) {
        let mut way = 0.0;
        let mut speed = 0.0;
        for stretch in self.stretches() {
            let part = seconds.min(stretch.seconds);
            way += part * (stretch.speed + stretch.acceleration * part / 2.0);
            speed = stretch.speed + stretch.acceleration * part;
            seconds -= part;
            if seconds <= 0.0 {
                break;
            }
        }
        (way, speed.max(0.0))
    }

    /// Seconds for the whole road, a little more than needed.
    fn crossing_s(self) -> f64 {
        let length = ROAD_M[1] - ROAD_M[0];
        (1..).map(f64::from).find(|seconds| self.at(*seconds).0 > length).unwrap_or(0.0)
    }

    /// Least seconds between two vehicles: a bus's length and some air, also where they stand.
    fn least_headway_s(self) -> f64 {
        match self {
            Self::Cruise { speed } => 15.0 / speed + 1.0,
            Self::Accelerate { from, .. } => 16.0 / from,
            Self::Brake { to, .. } => 16.0 / to,
            // Half the gap is opened while braking, half while starting again.
            Self::Stop { brake, wait_s, rate, .. } => wait_s + (14.0 / brake).sqrt() + (14.0 / rate).sqrt(),
        }
    }
}

/// A number from 0 to 1 that follows from these alone (splitmix64).
pub(crate) fn lot(seed: u64, what: u64, which: u64) -> f64 {
    let mut x = seed
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add(what.wrapping_mul(0xD1B5_4A32_D192_ED03))
        .wrapping_add(which.wrapping_mul(0x8CB9_2BA7_2F3D_8DD7));
    x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^= x >> 31;
    (x >> 11) as f64 / (1_u64 << 53) as f64
}

/// How a lane's vehicles drive in this scene.
fn manner(lane: usize, seed: u64) -> Manner {
    let between = |what: u64, low: f64, high: f64| low + (high - low) * lot(seed, what, lane as u64);
    match lane {
        0 => Manner::Stop {
            speed: between(1, 9.0, 12.0),
            brake: 3.0,
            wait_s: 2.0,
            rate: 2.5,
            // They come towards the camera: the line is some 35 m away.
            at_m: ROAD_M[1] - 35.0,
        },
        1 => Manner::Brake {
            from: between(2, 15.0, 19.0),
            to: between(3, 7.0, 9.0),
            rate: 2.0,
            after_m: ROAD_M[1] - 75.0,
        },
        2 => Manner::Cruise { speed: between(4, 15.0, 24.0) },
        _ => Manner::Accelerate {
            from: between(5, 6.0, 8.0),
            to: between(6, 13.0, 17.0),
            rate: between(7, 1.5, 2.5),
            after_m: 20.0,
        },
    }
}

/// Everybody on the road and beside it at this moment.
pub(crate) fn movers(config: &SceneConfig, seconds: f64) -> Vec<Mover> {
    let mut found = Vec::new();
    if config.vehicles > 0 {
        for lane in 0..LANES_M.len() {
            lane_movers(config, lane, seconds, &mut found);
        }
    }
    found.extend(people(config, seconds));
    found
}

/// Everybody beside the road.
pub(crate) fn people(config: &SceneConfig, seconds: f64) -> Vec<Mover> {
    (0..config.people).map(|index| person(config.seed, index, seconds)).collect()
}

fn lane_movers(config: &SceneConfig, lane: usize, seconds: f64, found: &mut Vec<Mover>) {
    /// Part of the headway by which a vehicle may be late.
    const LATE: f64 = 0.25;
    let manner = manner(lane, config.seed);
    let crossing = manner.crossing_s();
    let wanted = crossing * LANES_M.len() as f64 / f64::from(config.vehicles);
    let headway = wanted.max(manner.least_headway_s() / (1.0 - LATE));
    let oncoming = lane < 2;
    // Time begins with traffic under way.
    let now = seconds + crossing + headway * lot(config.seed, 8, lane as u64);
    let last = (now / headway).floor() as u64;
    let first = ((now - crossing) / headway - 1.0).floor().max(0.0) as u64;
    for nth in first..=last {
        let key = (lane as u64) << 40 | nth;
        let begin = headway * (nth as f64 + LATE * lot(config.seed, 9, key));
        if now < begin {
            continue;
        }
        let (way, speed) = manner.at(now - begin);
        if way > ROAD_M[1] - ROAD_M[0] {
            continue;
        }
        let class = match lot(config.seed, 10, key) {
            // Where cars drive fast, long vehicles do not.
            share if share < 0.12 && lane != 2 => Class::Truck,
            share if share < 0.2 && lane != 2 => Class::Bus,
            _ => Class::Car,
        };
        let y = if oncoming { ROAD_M[1] - way } else { ROAD_M[0] + way };
        let aside = 0.5 * (lot(config.seed, 11, key) - 0.5);
        found.push(Mover {
            id: 1 + nth * 8 + lane as u64,
            class,
            ground_m: [LANES_M[lane] + aside, y],
            speed_mps: speed,
            heading_rad: if oncoming { -std::f64::consts::FRAC_PI_2 } else { std::f64::consts::FRAC_PI_2 },
            paint: (lot(config.seed, 12, key) * 1000.0) as u32,
            gait: 0.0,
        });
    }
}

/// Somebody who walks along the pavement, over and over.
fn person(seed: u64, index: u32, seconds: f64) -> Mover {
    const WALK_M: [f64; 2] = [12.0, 60.0];
    let length = WALK_M[1] - WALK_M[0];
    let key = u64::from(index);
    let speed = 0.8 + 0.9 * lot(seed, 20, key);
    let away = lot(seed, 21, key) < 0.5;
    let way = speed * seconds + length * lot(seed, 22, key);
    let (round, part) = ((way / length).floor(), way.rem_euclid(length));
    let side = PAVEMENTS_M[index as usize % 2] + 1.2 * (lot(seed, 23, key) - 0.5);
    Mover {
        // A new walk is another person, so that no track jumps.
        id: 1 + (round as u64 * 32 + key) * 8 + 4,
        class: Class::Person,
        ground_m: [side, if away { WALK_M[0] + part } else { WALK_M[1] - part }],
        speed_mps: speed,
        heading_rad: if away { std::f64::consts::FRAC_PI_2 } else { -std::f64::consts::FRAC_PI_2 },
        paint: (lot(seed, 24, key) * 1000.0) as u32,
        gait: way / 0.75 * std::f64::consts::PI,
    }
}
