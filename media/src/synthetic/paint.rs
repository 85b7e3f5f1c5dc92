//! Drawing: polygons into I420 planes, the bodies of objects, the road.

use peregrine_proto::Size;

use super::traffic::{Class, Mover};
use super::{CELLS, Camera, STRIP, SceneConfig, signals, traffic};
use crate::picture::{plane_sizes, tight_len};

/// A colour as BT.601 limited-range Y, U, V.
pub(crate) type Yuv = [u8; 3];

/// What a shadow darkens towards.
pub(crate) const SHADOW: Yuv = [24, 130, 127];

const fn rgb(r: u8, g: u8, b: u8) -> Yuv {
    let (r, g, b) = (r as i32, g as i32, b as i32);
    [
        (16 + (66 * r + 129 * g + 25 * b + 128) / 256) as u8,
        (128 + (-38 * r - 74 * g + 112 * b + 128) / 256) as u8,
        (128 + (112 * r - 94 * g - 18 * b + 128) / 256) as u8,
    ]
}

/// A picture that is being drawn.
pub(crate) struct Canvas {
    size: Size,
    bytes: Vec<u8>,
    /// How much of each pixel of a row a polygon covers.
    coverage: Vec<f32>,
}

impl Canvas {
    /// A canvas that shows these tight I420 bytes.
    pub(crate) fn new(size: Size, bytes: Vec<u8>) -> Self {
        Self { size, bytes, coverage: vec![0.0; size.width as usize + 1] }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Fills a convex polygon, given in pixels, with smooth edges.
    pub(crate) fn fill(&mut self, outline: &[[f64; 2]], colour: Yuv, opacity: f32) {
        let mut rest = self.bytes.as_mut_slice();
        for (i, (width, height)) in plane_sizes(self.size).into_iter().enumerate() {
            let (plane, after) = rest.split_at_mut(width * height);
            rest = after;
            let scale = if i == 0 { 1.0 } else { 0.5 };
            fill_plane(plane, [width, height], outline, scale, colour[i], opacity, &mut self.coverage);
        }
    }

    /// Writes the frame number's strip along the top edge.
    pub(crate) fn write_number(&mut self, cells: [bool; CELLS]) {
        let mut rest = self.bytes.as_mut_slice();
        for (i, (width, height)) in plane_sizes(self.size).into_iter().enumerate() {
            let (plane, after) = rest.split_at_mut(width * height);
            rest = after;
            // Chroma may not end before the luma it belongs to.
            let rows = if i == 0 { height / STRIP } else { (height / STRIP).max(1) };
            for row in plane.chunks_exact_mut(width).take(rows) {
                for (x, value) in row.iter_mut().enumerate() {
                    let white = cells[x * CELLS / width];
                    *value = if i > 0 {
                        128
                    } else if white {
                        235
                    } else {
                        16
                    };
                }
            }
        }
    }
}

/// Fills a convex polygon in one plane: exact along the rows, four lines to a row.
fn fill_plane(
    plane: &mut [u8],
    [width, height]: [usize; 2],
    outline: &[[f64; 2]],
    scale: f64,
    value: u8,
    opacity: f32,
    coverage: &mut [f32],
) {
    const LINES: usize = 4;
    let (mut top, mut bottom) = (f64::INFINITY, f64::NEG_INFINITY);
    for point in outline {
        top = top.min(point[1] * scale);
        bottom = bottom.max(point[1] * scale);
    }
    let first = top.floor().max(0.0) as usize;
    let last = bottom.ceil().clamp(0.0, height as f64) as usize;
    for y in first..last {
        let (mut from, mut to) = (width, 0);
        for line in 0..LINES {
            let at = (y as f64 + (line as f64 + 0.5) / LINES as f64) / scale;
            let Some([left, right]) = span(outline, at) else { continue };
            let left = (left * scale).clamp(0.0, width as f64) as f32;
            let right = (right * scale).clamp(0.0, width as f64) as f32;
            if right <= left {
                continue;
            }
            let (begin, end) = (left as usize, (right.ceil() as usize).min(width));
            from = from.min(begin);
            to = to.max(end);
            for (x, covered) in coverage[begin..end].iter_mut().enumerate() {
                let x = (begin + x) as f32;
                *covered += ((right - x).min(1.0) - (left - x).max(0.0)) * (1.0 / LINES as f32);
            }
        }
        if from >= to {
            continue;
        }
        let row = &mut plane[y * width..(y + 1) * width];
        for (pixel, covered) in row[from..to].iter_mut().zip(&mut coverage[from..to]) {
            let share = covered.min(1.0) * opacity;
            *pixel = (f32::from(*pixel) + (f32::from(value) - f32::from(*pixel)) * share + 0.5) as u8;
            *covered = 0.0;
        }
    }
}

/// Where a horizontal line enters and leaves a convex polygon.
fn span(outline: &[[f64; 2]], y: f64) -> Option<[f64; 2]> {
    let mut found: Option<[f64; 2]> = None;
    let ends = outline.iter().cycle().skip(1);
    for (a, b) in outline.iter().zip(ends) {
        if (a[1] <= y) != (b[1] <= y) {
            let x = a[0] + (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]);
            found = Some(found.map_or([x, x], |[left, right]| [left.min(x), right.max(x)]));
        }
    }
    found
}

/// A face of a body.
pub(crate) struct Face {
    pub(crate) outline: Vec<[f64; 2]>,
    pub(crate) colour: Yuv,
}

/// An object as it is drawn.
pub(crate) struct Body {
    pub(crate) mover: Mover,
    /// As tight as the faces; its bottom centre is the image of the mover's ground point.
    pub(crate) xyxy: [f64; 4],
    /// From the back to the front.
    pub(crate) faces: Vec<Face>,
    pub(crate) shadow: Vec<[f64; 2]>,
}

/// The body of a mover, set so that its box's bottom centre is the mover's ground point; none where a part of it is behind
/// the camera.
pub(crate) fn body(mover: Mover, camera: &Camera) -> Option<Body> {
    let [x, y] = mover.ground_m;
    let foot = camera.image_of([x, y, 0.0])?;
    let turned = turned(&mover);
    let mut model = model(&mover);
    for point in model.iter_mut().flat_map(|(points, _)| points) {
        [point[0], point[1]] = turn([point[0], point[1]], turned);
    }
    let mut middle = [x, y];
    let mut xyxy = bounds(&model, middle, camera)?;
    // The box's centre moves almost linearly with the body: a few steps are exact to the last digits.
    let pixels_per_metre = {
        let (right, beyond) = (camera.image_of([x + 1.0, y, 0.0])?, camera.image_of([x, y + 1.0, 0.0])?);
        [right[0] - foot[0], beyond[1] - foot[1]]
    };
    for _ in 0..40 {
        let errors = [(xyxy[0] + xyxy[2]) / 2.0 - foot[0], xyxy[3] - foot[1]];
        if errors.iter().all(|error| error.abs() < 1e-9) {
            break;
        }
        for axis in 0..2 {
            middle[axis] -= errors[axis] / pixels_per_metre[axis];
        }
        xyxy = bounds(&model, middle, camera)?;
    }
    if turned != 0.0 {
        // What is further away is drawn first.
        let distance = |points: &[[f64; 3]]| points.iter().map(|p| p[1]).sum::<f64>() / points.len() as f64;
        model.sort_by(|(a, _), (b, _)| distance(b).total_cmp(&distance(a)));
    }
    let faces = model
        .iter()
        .map(|(points, colour)| {
            let outline: Option<Vec<_>> =
                points.iter().map(|p| camera.image_of([middle[0] + p[0], middle[1] + p[1], p[2]])).collect();
            outline.map(|outline| Face { outline, colour: *colour })
        })
        .collect::<Option<Vec<_>>>()?;
    let (half, length) = match mover.class {
        Class::Car => (0.95, 4.4),
        Class::Truck | Class::Bus => (1.3, mover.class.length_m()),
        Class::Person => (0.25, 0.35),
    };
    // The sun stands to the left, behind the camera.
    let shadow = [[-half, -0.1], [half + 0.5, -0.1], [half + 0.8, length + 0.5], [-half + 0.3, length + 0.5]]
        .iter()
        .map(|p| turn(*p, turned))
        .map(|p| camera.image_of([middle[0] + p[0], (middle[1] + p[1]).max(1.0), 0.0]))
        .collect::<Option<Vec<_>>>()?;
    Some(Body { mover, xyxy, faces, shadow })
}

/// By how much a vehicle has turned off the road, radians; 0 for one that drives along it.
fn turned(mover: &Mover) -> f64 {
    let along = std::f64::consts::FRAC_PI_2.copysign(mover.heading_rad);
    if mover.class == Class::Person { 0.0 } else { mover.heading_rad - along }
}

fn turn([x, y]: [f64; 2], by: f64) -> [f64; 2] {
    if by == 0.0 {
        return [x, y];
    }
    let (sin, cos) = by.sin_cos();
    [x * cos - y * sin, x * sin + y * cos]
}

/// Faces of a body as points (metres to the right of its middle, behind its near face, above ground) and a colour.
type Model = Vec<(Vec<[f64; 3]>, Yuv)>;

fn bounds(model: &Model, middle: [f64; 2], camera: &Camera) -> Option<[f64; 4]> {
    let mut found = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
    for point in model.iter().flat_map(|(points, _)| points) {
        let [u, v] = camera.image_of([middle[0] + point[0], middle[1] + point[1], point[2]])?;
        found = [found[0].min(u), found[1].min(v), found[2].max(u), found[3].max(v)];
    }
    Some(found)
}

const GLASS: Yuv = rgb(38, 48, 60);
const TYRE: Yuv = rgb(22, 22, 24);
const RED_LIGHT: Yuv = rgb(190, 24, 24);
const WHITE_LIGHT: Yuv = rgb(250, 246, 222);
const CAR_PAINTS: [[u8; 3]; 9] = [
    [196, 30, 36],
    [28, 72, 156],
    [226, 228, 230],
    [60, 64, 70],
    [150, 156, 162],
    [18, 110, 82],
    [222, 176, 40],
    [112, 36, 90],
    [30, 32, 36],
];

fn shade([r, g, b]: [u8; 3], share: f64) -> Yuv {
    let part = |value: u8| (f64::from(value) * share).clamp(0.0, 255.0) as u8;
    rgb(part(r), part(g), part(b))
}

fn model(mover: &Mover) -> Model {
    match mover.class {
        Class::Person => person(mover),
        class => vehicle(mover, class),
    }
}

/// A hexahedron between two rectangles, one above the other: what is seen of it from above and before.
struct Block {
    half: [f64; 2],
    near: [f64; 2],
    far: [f64; 2],
    z: [f64; 2],
}

impl Block {
    /// The sides first, then the top, then the near face. Both sides: the one turned away lies under the others.
    fn faces(&self, side: Yuv, top: Yuv, near: Yuv, out: &mut Model) {
        let [low, high] = [0, 1].map(|i| (self.half[i], self.near[i], self.far[i], self.z[i]));
        for sign in [-1.0, 1.0] {
            out.push((
                vec![
                    [sign * low.0, low.1, low.3],
                    [sign * low.0, low.2, low.3],
                    [sign * high.0, high.2, high.3],
                    [sign * high.0, high.1, high.3],
                ],
                side,
            ));
        }
        let level = |(half, near, far, z): (f64, f64, f64, f64)| {
            vec![[-half, near, z], [half, near, z], [half, far, z], [-half, far, z]]
        };
        out.push((level(high), top));
        out.push((
            vec![
                [-low.0, low.1, low.3],
                [low.0, low.1, low.3],
                [high.0, high.1, high.3],
                [-high.0, high.1, high.3],
            ],
            near,
        ));
    }
}

fn near_panel(x: [f64; 2], y: f64, z: [f64; 2]) -> Vec<[f64; 3]> {
    vec![[x[0], y, z[0]], [x[1], y, z[0]], [x[1], y, z[1]], [x[0], y, z[1]]]
}

fn vehicle(mover: &Mover, class: Class) -> Model {
    let oncoming = mover.heading_rad < 0.0;
    let base = match class {
        Class::Car => CAR_PAINTS[mover.paint as usize % CAR_PAINTS.len()],
        Class::Truck => [[70, 92, 120], [150, 60, 40], [200, 200, 196]][mover.paint as usize % 3],
        _ => [[214, 164, 36], [176, 40, 44], [46, 110, 150]][mover.paint as usize % 3],
    };
    let (side, top, near) = (shade(base, 0.68), shade(base, 1.0), shade(base, 0.84));
    let light = if oncoming { WHITE_LIGHT } else { RED_LIGHT };
    let length = class.length_m();
    let mut model = Model::new();
    let (half, sill) = if class == Class::Car { (0.9, 0.3) } else { (1.25, 0.4) };
    // Wheels and underside reach the ground over the whole width of the near face.
    Block { half: [half, half], near: [0.0, 0.0], far: [length, length], z: [0.0, sill] }
        .faces(TYRE, TYRE, TYRE, &mut model);
    match class {
        Class::Car => {
            Block {
                half: [half, half - 0.04],
                near: [0.0, 0.05],
                far: [length, length - 0.05],
                z: [sill, 0.88],
            }
            .faces(side, top, near, &mut model);
            // The cabin stands over the rear axle's half: nearer to the camera where the car leaves.
            let [front, back] = if oncoming { [1.35, 4.1] } else { [0.35, 3.05] };
            Block {
                half: [half - 0.08, half - 0.26],
                near: [front, front + 0.55],
                far: [back, back - 0.45],
                z: [0.88, 1.45],
            }
            .faces(GLASS, top, GLASS, &mut model);
        }
        Class::Truck => {
            Block { half: [half, half], near: [0.0, 0.0], far: [length, length], z: [sill, 1.1] }
                .faces(side, top, near, &mut model);
            let box_paint = [222, 224, 222];
            let [cab, cargo] = if oncoming {
                [[0.0, 1.9], [2.1, length]]
            } else {
                [[length - 1.9, length], [0.0, length - 2.1]]
            };
            let block = |y: [f64; 2], z: f64, paint: [u8; 3], out: &mut Model| {
                Block { half: [half, half], near: [y[0]; 2], far: [y[1]; 2], z: [1.1, z] }.faces(
                    shade(paint, 0.68),
                    shade(paint, 1.0),
                    shade(paint, 0.86),
                    out,
                );
            };
            // What is further away is drawn first.
            if oncoming {
                block(cargo, 3.2, box_paint, &mut model);
                block(cab, 2.4, base, &mut model);
                model.push((near_panel([-1.1, 1.1], -0.0, [1.5, 2.2]), GLASS));
            } else {
                block(cab, 2.4, base, &mut model);
                block(cargo, 3.2, box_paint, &mut model);
            }
        }
        _ => {
            Block { half: [half, half], near: [0.0, 0.0], far: [length, length], z: [sill, 3.0] }
                .faces(side, top, near, &mut model);
            model.push((near_panel([-1.1, 1.1], 0.0, [1.5, 2.6]), GLASS));
            for sign in [-1.0, 1.0] {
                let x = sign * half;
                let window =
                    vec![[x, 0.5, 1.6], [x, length - 0.5, 1.6], [x, length - 0.5, 2.5], [x, 0.5, 2.5]];
                // Under the near face: it was drawn, so only what the side shows may be glazed.
                model.insert(if sign < 0.0 { 5 } else { 7 }, (window, GLASS));
            }
        }
    }
    for sign in [-1.0, 1.0] {
        let x = [sign * (half - 0.1), sign * (half - 0.42)];
        model.push((near_panel(x, 0.02, [sill + 0.22, sill + 0.4]), light));
    }
    model
}

/// A flat figure that faces the camera; its legs swing alike to both sides, so that its feet are around its middle.
fn person(mover: &Mover) -> Model {
    let clothes = [[190, 60, 50], [50, 90, 160], [60, 130, 80], [210, 180, 70], [120, 70, 140]];
    let torso = shade(clothes[mover.paint as usize % clothes.len()], 1.0);
    let trousers = shade([46, 50, 66], 1.0);
    let skin = rgb(206, 160, 132);
    let swing = 0.05 + 0.07 * mover.gait.sin().abs();
    let mut model = Model::new();
    for sign in [-1.0, 1.0] {
        let leg = [
            [sign * swing - 0.07, 0.0],
            [sign * swing + 0.07, 0.0],
            [sign * 0.08 + 0.08, 0.85],
            [sign * 0.08 - 0.08, 0.85],
        ];
        model.push((leg.iter().map(|p| [p[0], 0.0, p[1]]).collect(), trousers));
    }
    let trunk = [[-0.17, 0.8], [0.17, 0.8], [0.23, 1.42], [0.12, 1.5], [-0.12, 1.5], [-0.23, 1.42]];
    model.push((trunk.iter().map(|p| [p[0], 0.0, p[1]]).collect(), torso));
    let head = (0..10).map(|i| {
        let angle = f64::from(i) / 10.0 * std::f64::consts::TAU;
        [0.11 * angle.sin(), 0.0, 1.63 + 0.13 * angle.cos()]
    });
    model.push((head.collect(), skin));
    model
}

/// Road, pavements, grass, hills and sky as tight I420.
pub(crate) fn background(config: &SceneConfig, camera: &Camera) -> Vec<u8> {
    let &SceneConfig { size, seed, signals, .. } = config;
    let (width, height) = (size.width as usize, size.height as usize);
    let mut bytes = vec![0_u8; tight_len(size)];
    let (luma, chroma) = bytes.split_at_mut(width * height);
    let (u_plane, v_plane) = chroma.split_at_mut(width / 2 * (height / 2));
    let phase = (seed % 1000) as f64 * 0.37;
    // Averages a few points of each pixel: far lane markings are finer than a pixel.
    let points = [0.125, 0.375, 0.625, 0.875];
    for y in 0..height / 2 {
        for x in 0..width / 2 {
            let mut around = [0.0; 3];
            for (dy, dx) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let (px, py) = (2 * x + dx, 2 * y + dy);
                let mut sum = [0.0; 3];
                for offset_y in points {
                    for offset_x in points {
                        let colour = scenery(
                            [px as f64 + offset_x, py as f64 + offset_y],
                            size,
                            camera,
                            phase,
                            signals,
                        );
                        for i in 0..3 {
                            sum[i] += colour[i] / 16.0;
                        }
                    }
                }
                let grain = grain(px, py, seed);
                luma[py * width + px] = (sum[0] + grain).clamp(16.0, 235.0).round() as u8;
                for i in 0..3 {
                    around[i] += sum[i] / 4.0;
                }
            }
            u_plane[y * (width / 2) + x] = around[1].round() as u8;
            v_plane[y * (width / 2) + x] = around[2].round() as u8;
        }
    }
    bytes
}

/// Fixed unevenness of every surface, so that no area is perfectly flat.
fn grain(x: usize, y: usize, seed: u64) -> f64 {
    let mut hash = (x as u64).wrapping_mul(0x9E37_79B1) ^ (y as u64).wrapping_mul(0x85EB_CA77) ^ seed;
    hash = (hash ^ hash >> 15).wrapping_mul(0x2C1B_3C6D_6A5B_9D1F);
    ((hash >> 40) % 1000) as f64 / 1000.0 * 5.0 - 2.5
}

fn mix(a: Yuv, b: Yuv, share: f64) -> [f64; 3] {
    std::array::from_fn(|i| f64::from(a[i]) + (f64::from(b[i]) - f64::from(a[i])) * share.clamp(0.0, 1.0))
}

/// The colour of the empty scene at a point of the picture.
fn scenery(point: [f64; 2], size: Size, camera: &Camera, phase: f64, signals: bool) -> [f64; 3] {
    const HAZE: Yuv = rgb(196, 208, 216);
    let horizon = camera.horizon();
    let Some([x, y]) = camera.ground_of(point).filter(|_| point[1] > horizon + 0.5) else {
        let across = point[0] / f64::from(size.width);
        let hills = (across * 7.0 + phase).sin() * 0.5 + (across * 17.0 + 2.0 * phase).sin() * 0.25 + 0.9;
        let rise = (horizon - point[1]) / f64::from(size.height);
        return if rise < 0.022 * hills {
            mix(rgb(104, 130, 120), HAZE, 0.45)
        } else {
            mix(rgb(214, 224, 232), rgb(112, 160, 214), rise / 0.16)
        };
    };
    let side = x.abs();
    let lane_edge = traffic::LANES_M[3] + 1.75;
    let near = |at: f64, half: f64| (side - at).abs() < half;
    let dashed = y.rem_euclid(9.0) < 4.0 && near(3.5, 0.07);
    let stop_line = if signals {
        (27.2..27.7).contains(&y) && (-3.4..-0.1).contains(&x)
            || (75.2..75.7).contains(&y) && (0.1..3.4).contains(&x)
    } else {
        (33.2..33.7).contains(&y) && (-lane_edge..-3.6).contains(&x)
    };
    if signals && x < -lane_edge && signals::SIDE_ROAD_M.contains(&y) {
        return mix(rgb(92, 94, 98), HAZE, 1.0 - (-y / 420.0).exp());
    }
    let surface = if near(0.12, 0.06) {
        rgb(222, 190, 70)
    } else if dashed || near(lane_edge, 0.08) || stop_line {
        rgb(224, 224, 220)
    } else if side < lane_edge + 0.7 {
        rgb(92, 94, 98)
    } else if side < lane_edge + 0.9 {
        rgb(150, 148, 144)
    } else if side < lane_edge + 3.8 {
        rgb(172, 166, 156)
    } else if (x * 0.13 + phase).sin() + (y * 0.09).sin() > 0.3 {
        rgb(96, 134, 66)
    } else {
        rgb(88, 124, 62)
    };
    mix(surface, HAZE, 1.0 - (-y / 420.0).exp())
}
