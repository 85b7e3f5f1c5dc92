use nalgebra::{DMatrix, DVector, Matrix2, Matrix3, Vector2, Vector3};
use peregrine_proto::{CalibrationConfig, CalibrationPoint, PictureShape, Size};

/// The least width of a set of points for each unit of its length; thinner ones count as one line.
const THINNEST: f64 = 0.005;
/// Pixels or metres. The squares of larger values overflow where they are summed, and decompositions then never end.
const FURTHEST: f64 = 1e7;
/// Scales that a real camera has somewhere in its picture, metres a pixel.
const SCALES: std::ops::Range<f64> = 1e-6..1e4;

/// A camera's axis that misses the picture's middle by this share of the width belongs to another picture: of five measured
/// calibrations the largest share is 0.03; twice the size makes it 0.25, half the size 0.5.
const PAST_MIDDLE: f64 = 0.15;
/// Points this far outside the picture, as a share of its sides, were clicked in another one.
const OUTSIDE: f64 = 0.02;
/// How far people miss with a click, as a share of the width, and with a length, as a share of the longest; and how many
/// standard deviations are no chance.
const CLICK: f64 = 0.003;
const MEASURED: f64 = 0.01;
const SURE: f64 = 3.0;

/// Maps points of the picture to the ground and back.
#[derive(Debug, Clone, PartialEq)]
pub struct Homography {
    /// Scaled so that the third component is positive before the horizon, and 1 at a point known to be there.
    world_from_image: Matrix3<f64>,
    image_from_world: Matrix3<f64>,
}

/// A homography from a camera's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    homography: Homography,
    /// Distance in pixels between each point and the picture of its ground position; empty for a matrix.
    residuals_px: Vec<f64>,
    /// The points that it was fitted to; empty for a matrix.
    points: Vec<CalibrationPoint>,
}

/// Why a calibration cannot be used. Points are counted from 1, as people do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CalibrationError {
    /// Fewer than four.
    #[error("calibration has {0} points: give at least four, or world_from_image")]
    TooFew(usize),
    /// Neither or both of the two ways.
    #[error("calibration has both points and world_from_image: keep one of them")]
    Both,
    /// A coordinate that is no number.
    #[error("calibration point {0} has a coordinate that is no finite number: correct it")]
    NotFinite(usize),
    /// A coordinate that no picture and no street has.
    #[error("calibration point {0} has a coordinate beyond ten million: give pixels and metres")]
    TooFar(usize),
    /// Two points at one place.
    #[error("calibration points {0} and {1} are at the same place {2}: move or remove one of them")]
    Duplicate(usize, usize, Space),
    /// All points, or all but one, on one line.
    #[error(
        "calibration points {} lie on one line {}: no speed can be measured across it; add a point well away from that line",
        list(.0), .1
    )]
    Collinear(Vec<usize>, Space),
    /// Points that do not determine a homography for another reason.
    #[error(
        "the calibration points do not determine where the ground is: spread them over the picture, no three of them on one line"
    )]
    Degenerate,
    /// The picture and the ground contradict each other.
    #[error(
        "calibration {} would lie beyond the horizon: picture and ground coordinates do not belong together; check that no two are swapped",
        points_named(.0)
    )]
    BeyondHorizon(Vec<usize>),
    /// A matrix with something that is no number.
    #[error(
        "calibration.world_from_image has a value that is no finite number: give nine numbers, row by row"
    )]
    MatrixNotFinite,
    /// A matrix that maps everything onto a line.
    #[error(
        "calibration.world_from_image cannot be inverted: it maps the picture onto a line; check its rows"
    )]
    MatrixSingular,
    /// A matrix of another unit, or the wrong way round.
    #[error(
        "calibration.world_from_image makes a pixel {0:.3e} m wide: it must map source pixels to metres (is it the inverse, or in other units?)"
    )]
    MatrixScale(f64),
}

/// Where points coincide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// In pixels.
    Picture,
    /// In metres.
    Ground,
}

impl std::fmt::Display for Space {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Picture => "in the picture",
            Self::Ground => "on the ground",
        })
    }
}

impl Calibration {
    /// Takes whichever of the two ways the configuration has.
    ///
    /// # Errors
    /// When it cannot be used; says why and what to do.
    pub fn new(config: &CalibrationConfig) -> Result<Self, CalibrationError> {
        match (&config.world_from_image, config.points.as_slice()) {
            (Some(_), [_, ..]) => Err(CalibrationError::Both),
            (Some(rows), []) => {
                let homography = Homography::from_matrix(*rows)?;
                Ok(Self { homography, residuals_px: Vec::new(), points: Vec::new() })
            }
            (None, points) => {
                let homography = Homography::from_points(points)?;
                let residuals_px = points
                    .iter()
                    .map(|point| match homography.image(point.ground) {
                        Some(image) => (image[0] - point.image[0]).hypot(image[1] - point.image[1]),
                        None => f64::INFINITY,
                    })
                    .collect();
                Ok(Self { homography, residuals_px, points: points.to_vec() })
            }
        }
    }

    /// The homography for pictures of a size, pixels. A bare matrix does not say which side of its horizon is in
    /// front of the camera; the middle of the picture's lower edge is taken to be.
    pub fn homography(&self, [width, height]: [f64; 2]) -> Option<Homography> {
        if self.residuals_px.is_empty() {
            self.homography.facing([width / 2.0, height])
        } else {
            Some(self.homography.clone())
        }
    }

    /// Whether its pixels are plainly those of another picture than one of this shape: points lie outside it, or its camera
    /// would look past the picture's middle, far beyond what clicks and lengths that are a little off can explain. Says
    /// nothing where the perspective is too weak to tell.
    pub fn contradicts(&self, picture: &PictureShape) -> bool {
        let most = [picture.width, picture.height].map(|side| f64::from(side) * (1.0 + OUTSIDE));
        if self.points.iter().any(|point| point.image[0] > most[0] || point.image[1] > most[1]) {
            return true;
        }
        let square = [f64::from(picture.pixel_aspect), 1.0];
        let (width, height) = (square[0] * f64::from(picture.width), f64::from(picture.height));
        let past_middle = |homography: &Homography| homography.scaled(square).past_middle([width, height]);
        let Some(past) = past_middle(&self.homography) else { return false };
        if past.abs() < PAST_MIDDLE * width {
            return false;
        }
        let extent = |axis: usize| {
            let along = || self.points.iter().map(|point| point.ground[axis]);
            along().fold(f64::MIN, f64::max) - along().fold(f64::MAX, f64::min)
        };
        let mut variance = 0.0;
        // More points leave little to explain.
        let few = if self.points.len() <= 16 { self.points.len() } else { 0 };
        for (index, axis) in (0..few).flat_map(|index| [(index, 0), (index, 1)]) {
            let (mut clicked, mut measured) = (self.points.clone(), self.points.clone());
            clicked[index].image[axis] += CLICK * width / square[axis];
            measured[index].ground[axis] += MEASURED * extent(axis);
            let moved =
                [clicked, measured].map(|points| past_middle(&Homography::from_points(&points).ok()?));
            variance += moved.into_iter().flatten().map(|moved| (moved - past).powi(2)).sum::<f64>();
        }
        past.abs() > SURE * variance.sqrt()
    }

    /// The map of homogeneous pixels to homogeneous metres, row by row, up to its scale.
    pub fn world_from_image(&self) -> [[f64; 3]; 3] {
        rows(&self.homography.world_from_image)
    }

    /// The map of homogeneous metres to homogeneous pixels, the inverse of [`Calibration::world_from_image`].
    pub fn image_from_world(&self) -> [[f64; 3]; 3] {
        rows(&self.homography.image_from_world)
    }

    /// Distance in pixels between each calibration point and the picture of its ground position. All are zero for
    /// four points; empty for a matrix.
    pub fn residuals_px(&self) -> &[f64] {
        &self.residuals_px
    }

    /// A pixel that shows ground: the middle of the points, or for a matrix one in the lower half of the picture.
    pub(crate) fn place(&self, picture: Size) -> Option<[f64; 2]> {
        let [width, height] = [f64::from(picture.width), f64::from(picture.height)];
        let n = self.points.len() as f64;
        let place = match self.points.as_slice() {
            [] => [width / 2.0, height * 0.75],
            points => [0, 1].map(|axis| points.iter().map(|point| point.image[axis]).sum::<f64>() / n),
        };
        self.homography([width, height])?.ground(place).map(|_| place)
    }

    /// The points that are outside a picture of this size by more than a pixel, counted from 1.
    pub(crate) fn points_outside(&self, picture: Size) -> Vec<usize> {
        let inside = |[x, y]: [f64; 2]| {
            (-1.0..=f64::from(picture.width) + 1.0).contains(&x)
                && (-1.0..=f64::from(picture.height) + 1.0).contains(&y)
        };
        (1..).zip(&self.points).filter(|(_, point)| !inside(point.image)).map(|(number, _)| number).collect()
    }
}

impl Homography {
    /// Fits points of the ground: the normalised direct linear transform (Hartley and Zisserman, algorithm 4.2),
    /// then least squares of the distances in the picture, where people click with an error.
    ///
    /// # Errors
    /// When the points do not determine it, or contradict each other.
    pub fn from_points(points: &[CalibrationPoint]) -> Result<Self, CalibrationError> {
        check_points(points)?;
        let image: Vec<Vector2<f64>> = points.iter().map(|point| Vector2::from(point.image)).collect();
        let ground: Vec<Vector2<f64>> = points.iter().map(|point| Vector2::from(point.ground)).collect();
        let (to_image, image) = normalise(&image);
        let (to_ground, ground) = normalise(&ground);
        let mut fitted = direct_linear_transform(&ground, &image)?;
        refine(&mut fitted, &ground, &image);

        let inverse = |matrix: Matrix3<f64>| matrix.try_inverse().ok_or(CalibrationError::Degenerate);
        let image_from_world = inverse(to_image)? * fitted * to_ground;
        let world_from_image = inverse(image_from_world)?;
        let depths: Vec<f64> =
            points.iter().map(|point| (world_from_image * homogeneous(point.image))[2]).collect();
        let behind: Vec<usize> = (0..points.len()).filter(|&index| depths[index] <= 0.0).collect();
        let before: Vec<usize> = (0..points.len()).filter(|&index| depths[index] > 0.0).collect();
        if !behind.is_empty() && !before.is_empty() {
            let fewer = if behind.len() <= before.len() { behind } else { before };
            return Err(CalibrationError::BeyondHorizon(fewer.into_iter().map(|index| index + 1).collect()));
        }
        let [x, y] = points[0].image;
        Self { world_from_image, image_from_world }.facing([x, y]).ok_or(CalibrationError::Degenerate)
    }

    /// Takes a matrix, row by row, from homogeneous pixels to homogeneous metres, of any scale and sign.
    ///
    /// # Errors
    /// When it is no homography from pixels to metres.
    pub fn from_matrix(rows: [[f64; 3]; 3]) -> Result<Self, CalibrationError> {
        let matrix = Matrix3::from_fn(|row, column| rows[row][column]);
        if matrix.iter().any(|value| !value.is_finite()) {
            return Err(CalibrationError::MatrixNotFinite);
        }
        // Pixels are counted in thousands here, so that the rows and columns are of one order.
        let scaled = matrix * Matrix3::from_diagonal(&Vector3::new(1e3, 1e3, 1.0));
        let rows_even = Matrix3::from_fn(|row, column| scaled[(row, column)] / scaled.row(row).norm());
        let well = rows_even.iter().all(|value| value.is_finite()) && rows_even.determinant().abs() > 1e-9;
        let world_from_image = matrix / matrix.norm();
        let image_from_world =
            world_from_image.try_inverse().filter(|_| well).ok_or(CalibrationError::MatrixSingular)?;
        let homography = Self { world_from_image, image_from_world };
        // Where in the picture the road is, and how large the picture, nobody says: one fitting place will do.
        let places = [[320.0, 240.0], [320.0, 480.0], [960.0, 540.0], [960.0, 1080.0], [1920.0, 2160.0]];
        let scales = places.map(|place| {
            let jacobian = homography.facing(place).and_then(|facing| facing.ground_by_image(place));
            jacobian.map_or(f64::NAN, |jacobian| jacobian.determinant().abs().sqrt())
        });
        if scales.iter().any(|scale| SCALES.contains(scale)) {
            Ok(homography)
        } else {
            Err(CalibrationError::MatrixScale(scales[1]))
        }
    }

    /// The same map with `image` known to be before the horizon. None where it is on it.
    fn facing(&self, image: [f64; 2]) -> Option<Self> {
        let depth = (self.world_from_image * homogeneous(image))[2];
        let usable = depth.is_finite() && depth.abs() > 1e-12 * self.world_from_image.row(2).norm();
        usable.then(|| Self {
            world_from_image: self.world_from_image / depth,
            image_from_world: self.image_from_world * depth,
        })
    }

    /// Homogeneous metres to homogeneous pixels; the third component is positive in front of the camera.
    pub(crate) fn image_from_world_matrix(&self) -> &Matrix3<f64> {
        &self.image_from_world
    }

    /// The same ground seen in another picture of the same scene, whose pixels go `scale` times into this one's along x and
    /// y: a point at `[x, y]` here is at `[x * scale[0], y * scale[1]]` there.
    pub fn scaled(&self, [x, y]: [f64; 2]) -> Self {
        Self {
            world_from_image: self.world_from_image
                * Matrix3::from_diagonal(&Vector3::new(1.0 / x, 1.0 / y, 1.0)),
            image_from_world: Matrix3::from_diagonal(&Vector3::new(x, y, 1.0)) * self.image_from_world,
        }
    }

    /// By how much the camera's axis misses the middle of a picture of this size, pixels along the horizon. 0 for a camera
    /// with square pixels and its axis in the middle, whatever its tilt, roll and focal length.
    ///
    /// The circular points of the ground, (1, ±i, 0), are seen at `foot ± i·reach·along` on the horizon: the axis of such a
    /// camera lies on the perpendicular of the horizon through `foot`, and `reach` is the distance from the camera to the
    /// horizon in pixels (Hartley and Zisserman, section 8.10). None where the horizon is farther away than five widths:
    /// then the perspective is too weak to tell.
    fn past_middle(&self, [width, height]: [f64; 2]) -> Option<f64> {
        const WEAK: f64 = 5.0;
        let (re, im) = (self.image_from_world.column(0), self.image_from_world.column(1));
        let depth = re[2] * re[2] + im[2] * im[2];
        // (re + i·im) / (re₂ + i·im₂), the real and the imaginary part.
        let foot = [0, 1].map(|axis| (re[axis] * re[2] + im[axis] * im[2]) / depth);
        let reach = [0, 1].map(|axis| (im[axis] * re[2] - re[axis] * im[2]) / depth);
        let distance = reach[0].hypot(reach[1]);
        let strong = distance > 0.0 && distance < WEAK * width;
        let past = (width / 2.0 - foot[0]) * reach[0] + (height / 2.0 - foot[1]) * reach[1];
        strong.then(|| past / distance)
    }

    /// Where a point of the picture stands on the ground. None beyond the horizon, and so near to it that the
    /// ground is a thousand times further than where the calibration was made.
    pub fn ground(&self, image: [f64; 2]) -> Option<[f64; 2]> {
        divide(self.world_from_image * homogeneous(image))
    }

    /// Where a point of the ground is seen. None behind the camera.
    pub fn image(&self, ground: [f64; 2]) -> Option<[f64; 2]> {
        let seen = self.image_from_world * homogeneous(ground);
        (seen[2] > 0.0)
            .then(|| [seen[0] / seen[2], seen[1] / seen[2]])
            .filter(|p| p.iter().all(|v| v.is_finite()))
    }

    /// How a point of the picture moves with its point on the ground: pixels a metre.
    pub fn image_by_ground(&self, ground: [f64; 2]) -> Option<Matrix2<f64>> {
        let seen = self.image_from_world * homogeneous(ground);
        let image = self.image(ground)?;
        let matrix = &self.image_from_world;
        let jacobian = Matrix2::from_fn(|row, column| {
            (matrix[(row, column)] - image[row] * matrix[(2, column)]) / seen[2]
        });
        jacobian.iter().all(|value| value.is_finite()).then_some(jacobian)
    }

    /// How a point on the ground moves with its point in the picture: metres a pixel.
    pub fn ground_by_image(&self, image: [f64; 2]) -> Option<Matrix2<f64>> {
        let ground = self.ground(image)?;
        let depth = (self.world_from_image * homogeneous(image))[2];
        let matrix = &self.world_from_image;
        let jacobian = Matrix2::from_fn(|row, column| {
            (matrix[(row, column)] - ground[row] * matrix[(2, column)]) / depth
        });
        jacobian.iter().all(|value| value.is_finite()).then_some(jacobian)
    }
}

fn rows(matrix: &Matrix3<f64>) -> [[f64; 3]; 3] {
    std::array::from_fn(|row| std::array::from_fn(|column| matrix[(row, column)]))
}

fn homogeneous([x, y]: [f64; 2]) -> Vector3<f64> {
    Vector3::new(x, y, 1.0)
}

/// Back from homogeneous ground coordinates, whose third component is 1 at a point that is seen well.
fn divide(point: Vector3<f64>) -> Option<[f64; 2]> {
    let ground = [point[0] / point[2], point[1] / point[2]];
    (point[2] > 1e-3 && ground.iter().all(|value| value.is_finite())).then_some(ground)
}

/// "point 4", "points 2 and 3".
pub(crate) fn points_named(points: &[usize]) -> String {
    format!("point{} {}", if points.len() == 1 { "" } else { "s" }, list(points))
}

fn list(points: &[usize]) -> String {
    let names: Vec<String> = points.iter().map(usize::to_string).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

fn check_points(points: &[CalibrationPoint]) -> Result<(), CalibrationError> {
    if points.len() < 4 {
        return Err(CalibrationError::TooFew(points.len()));
    }
    if let Some(index) =
        points.iter().position(|point| !point.image.iter().chain(&point.ground).all(|v| v.is_finite()))
    {
        return Err(CalibrationError::NotFinite(index + 1));
    }
    if let Some(index) =
        points.iter().position(|point| point.image.iter().chain(&point.ground).any(|v| v.abs() > FURTHEST))
    {
        return Err(CalibrationError::TooFar(index + 1));
    }
    for space in [Space::Picture, Space::Ground] {
        let place = |point: &CalibrationPoint| match space {
            Space::Picture => Vector2::from(point.image),
            Space::Ground => Vector2::from(point.ground),
        };
        let places: Vec<(usize, Vector2<f64>)> =
            points.iter().enumerate().map(|(index, point)| (index + 1, place(point))).collect();
        let extent = spread(&places.iter().map(|(_, place)| *place).collect::<Vec<_>>())[0];
        for (index, (a, place_a)) in places.iter().enumerate() {
            for (b, place_b) in &places[index + 1..] {
                if (place_a - place_b).norm() <= 1e-6 * extent {
                    return Err(CalibrationError::Duplicate(*a, *b, space));
                }
            }
        }
        let on_a_line = |kept: &[(usize, Vector2<f64>)]| {
            let [length, width] = spread(&kept.iter().map(|(_, place)| *place).collect::<Vec<_>>());
            width < THINNEST * length
        };
        let names = |kept: &[(usize, Vector2<f64>)]| kept.iter().map(|(name, _)| *name).collect();
        if on_a_line(&places) {
            return Err(CalibrationError::Collinear(names(&places), space));
        }
        for left_out in 0..places.len() {
            let mut kept = places.clone();
            kept.remove(left_out);
            if on_a_line(&kept) {
                return Err(CalibrationError::Collinear(names(&kept), space));
            }
        }
    }
    Ok(())
}

/// The extents of a set of points along its longest direction and across it: root mean squares.
fn spread(points: &[Vector2<f64>]) -> [f64; 2] {
    let n = points.len().max(1) as f64;
    let centre = points.iter().sum::<Vector2<f64>>() / n;
    let scatter =
        points.iter().map(|point| (point - centre) * (point - centre).transpose()).sum::<Matrix2<f64>>() / n;
    let mut extents = scatter.symmetric_eigenvalues().map(|value| value.max(0.0).sqrt());
    if extents[0] < extents[1] {
        extents.swap_rows(0, 1);
    }
    extents.into()
}

/// Moves the centre of points to the origin and their mean distance from it to √2; also the matrix that does so.
fn normalise(points: &[Vector2<f64>]) -> (Matrix3<f64>, Vec<Vector2<f64>>) {
    let n = points.len() as f64;
    let centre = points.iter().sum::<Vector2<f64>>() / n;
    let scale =
        std::f64::consts::SQRT_2 * n / points.iter().map(|point| (point - centre).norm()).sum::<f64>();
    let matrix = Matrix3::new(scale, 0.0, -scale * centre.x, 0.0, scale, -scale * centre.y, 0.0, 0.0, 1.0);
    (matrix, points.iter().map(|point| (point - centre) * scale).collect())
}

/// The matrix that maps `from` to `to` with the least algebraic error.
fn direct_linear_transform(
    from: &[Vector2<f64>],
    to: &[Vector2<f64>],
) -> Result<Matrix3<f64>, CalibrationError> {
    // A row of zeros makes the system square for four points: the decomposition then has all nine directions.
    let mut equations = DMatrix::<f64>::zeros((2 * from.len()).max(9), 9);
    for (index, (a, b)) in from.iter().zip(to).enumerate() {
        let (x, y) = (2 * index, 2 * index + 1);
        for (column, value) in [a.x, a.y, 1.0].into_iter().enumerate() {
            equations[(x, column)] = value;
            equations[(x, column + 6)] = -b.x * value;
            equations[(y, column + 3)] = value;
            equations[(y, column + 6)] = -b.y * value;
        }
    }
    let svd = equations.svd(false, true);
    let mut by_size: Vec<usize> = (0..9).collect();
    by_size.sort_by(|&a, &b| svd.singular_values[b].total_cmp(&svd.singular_values[a]));
    let (Some(v_t), [largest, .., second_least, least]) = (&svd.v_t, by_size.as_slice()) else {
        return Err(CalibrationError::Degenerate);
    };
    if svd.singular_values[*second_least] < 1e-9 * svd.singular_values[*largest] {
        return Err(CalibrationError::Degenerate);
    }
    let h = v_t.row(*least);
    Ok(Matrix3::new(h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8]))
}

/// Levenberg and Marquardt's method on the distances in `to`; keeps the best matrix it saw.
fn refine(matrix: &mut Matrix3<f64>, from: &[Vector2<f64>], to: &[Vector2<f64>]) {
    if from.len() == 4 || matrix[(2, 2)].abs() < 1e-12 {
        return;
    }
    *matrix /= matrix[(2, 2)];
    let with = |matrix: &Matrix3<f64>, change: &DVector<f64>| {
        Matrix3::from_fn(|r, c| matrix[(r, c)] + change.get(3 * r + c).copied().unwrap_or(0.0))
    };
    let residuals = |matrix: &Matrix3<f64>| {
        DVector::from_iterator(
            2 * from.len(),
            from.iter().zip(to).flat_map(|(a, b)| {
                let seen = matrix * Vector3::new(a.x, a.y, 1.0);
                [seen[0] / seen[2] - b.x, seen[1] / seen[2] - b.y]
            }),
        )
    };
    let mut error = residuals(matrix);
    let mut damping = 1e-3;
    for _ in 0..50 {
        let mut jacobian = DMatrix::<f64>::zeros(2 * from.len(), 8);
        for (index, a) in from.iter().enumerate() {
            let seen = *matrix * Vector3::new(a.x, a.y, 1.0);
            let image = [seen[0] / seen[2], seen[1] / seen[2]];
            for (column, value) in [a.x, a.y, 1.0].into_iter().enumerate() {
                for (axis, at) in image.into_iter().enumerate() {
                    jacobian[(2 * index + axis, 3 * axis + column)] = value / seen[2];
                    if column < 2 {
                        jacobian[(2 * index + axis, 6 + column)] = -value * at / seen[2];
                    }
                }
            }
        }
        let mut normal = jacobian.tr_mul(&jacobian);
        for index in 0..8 {
            normal[(index, index)] *= 1.0 + damping;
        }
        let Some(change) = normal.cholesky().map(|cholesky| cholesky.solve(&-jacobian.tr_mul(&error))) else {
            return;
        };
        let moved = with(matrix, &change);
        let moved_error = residuals(&moved);
        if moved_error.norm_squared() < error.norm_squared() {
            let done = error.norm_squared() - moved_error.norm_squared() <= 1e-15 * error.norm_squared();
            *matrix = moved;
            error = moved_error;
            damping *= 0.1;
            if done {
                return;
            }
        } else {
            damping *= 10.0;
            if damping > 1e12 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Reference {
        homographies: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        image: Vec<[f64; 2]>,
        ground: Vec<[f64; 2]>,
        probes: Vec<[f64; 2]>,
        probes_on_ground: Vec<[f64; 2]>,
        rms_residual_px: f64,
    }

    fn points(image: &[[f64; 2]], ground: &[[f64; 2]]) -> CalibrationConfig {
        let points = image
            .iter()
            .zip(ground)
            .map(|(image, ground)| CalibrationPoint { image: *image, ground: *ground });
        CalibrationConfig { points: points.collect(), world_from_image: None, drawn_on: None }
    }

    fn error(image: &[[f64; 2]], ground: &[[f64; 2]]) -> String {
        Calibration::new(&points(image, ground)).unwrap_err().to_string()
    }

    const IMAGE: [[f64; 2]; 4] = [[150.0, 330.0], [640.0, 330.0], [700.0, 520.0], [60.0, 520.0]];
    const GROUND: [[f64; 2]; 4] =
        [[-13.497, -4.257], [-9.496, -12.485], [-15.882, -15.616], [-19.747, -8.511]];

    /// The reference is OpenCV's `getPerspectiveTransform` and `findHomography`, see `processor/tests/reference/motion.py`.
    #[test]
    fn fit_agrees_with_opencv() {
        let Reference { homographies } =
            serde_json::from_str(include_str!("../../processor/tests/reference/motion.json")).unwrap();
        for case in homographies {
            let calibration = Calibration::new(&points(&case.image, &case.ground)).unwrap();
            let homography = calibration.homography([1280.0, 720.0]).unwrap();
            let residuals = calibration.residuals_px();
            let rms = (residuals.iter().map(|r| r * r).sum::<f64>() / residuals.len() as f64).sqrt();
            assert!((rms - case.rms_residual_px).abs() < 1e-3, "{rms} instead of {}", case.rms_residual_px);
            for (probe, expected) in case.probes.iter().zip(case.probes_on_ground) {
                let found = homography.ground(*probe).unwrap();
                let distance = (found[0] - expected[0]).hypot(found[1] - expected[1]);
                assert!(
                    distance < 2e-3,
                    "{} points, {probe:?}: {found:?} instead of {expected:?}",
                    case.image.len()
                );
            }
        }
    }

    #[test]
    fn calibration_points_on_a_line_are_refused_by_name() {
        let ground = [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.0, 5.0]];
        let said = error(&IMAGE, &ground);
        assert!(
            said.contains("points 1, 2 and 3 lie on one line on the ground") && said.contains("add a point"),
            "{said}"
        );
        let image = [[0.0, 0.0], [100.0, 50.0], [200.0, 100.2], [400.0, 200.0]];
        assert!(error(&image, &GROUND).contains("points 1, 2, 3 and 4 lie on one line in the picture"));
    }

    #[test]
    fn calibration_point_given_twice_is_refused_by_name() {
        let said = error(&[IMAGE[0], IMAGE[1], IMAGE[2], IMAGE[1]], &GROUND);
        assert_eq!(
            said,
            "calibration points 2 and 4 are at the same place in the picture: move or remove one of them"
        );
    }

    #[test]
    fn swapped_calibration_points_are_refused_by_name() {
        let said = error(&IMAGE, &[GROUND[1], GROUND[0], GROUND[2], GROUND[3]]);
        assert!(said.contains("beyond the horizon") && said.contains("swapped"), "{said}");
        assert!(said.starts_with("calibration points 1 and "), "{said}");
        let said = CalibrationError::BeyondHorizon(vec![4]).to_string();
        assert!(said.starts_with("calibration point 4 would lie beyond"), "{said}");
    }

    #[test]
    fn too_few_or_unusable_values_are_refused() {
        assert!(error(&IMAGE[..3], &GROUND[..3]).contains("3 points"));
        let mut image = IMAGE;
        image[2][0] = f64::NAN;
        assert!(error(&image, &GROUND).contains("point 3"));
        image[2][0] = 1e308;
        assert!(error(&image, &GROUND).contains("point 3 has a coordinate beyond"));
        let matrix = |rows| Homography::from_matrix(rows).unwrap_err();
        assert_eq!(matrix([[f64::INFINITY; 3]; 3]), CalibrationError::MatrixNotFinite);
        assert_eq!(matrix([[0.0; 3]; 3]), CalibrationError::MatrixSingular);
        assert_eq!(
            matrix([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [0.0, 0.0, 1.0]]),
            CalibrationError::MatrixSingular
        );
        let scale = [[1e7, 0.0, 0.0], [0.0, 1e7, 0.0], [0.0, 0.0, 1.0]];
        assert!(matches!(matrix(scale), CalibrationError::MatrixScale(_)));
    }

    /// A camera `height` metres above the ground, tilted down and rolled, degrees, with square pixels and its axis in the
    /// middle of 640x480; the ground's axes are turned against its direction. Gives the picture of ground points.
    fn camera(focal: f64, height: f64, [tilt, roll, turn]: [f64; 3]) -> impl Fn([f64; 2]) -> [f64; 2] {
        let [tilt, roll, turn] = [tilt, roll, turn].map(f64::to_radians);
        move |[x, y]| {
            let (x, y) = (x * turn.cos() - y * turn.sin(), x * turn.sin() + y * turn.cos());
            let forward = y * tilt.cos() + height * tilt.sin();
            let down = height * tilt.cos() - y * tilt.sin();
            let (right, down) = (x * roll.cos() - down * roll.sin(), x * roll.sin() + down * roll.cos());
            [320.0 + focal * right / forward, 240.0 + focal * down / forward]
        }
    }

    fn shape(width: u32, height: u32) -> PictureShape {
        PictureShape { width, height, pixel_aspect: 1.0 }
    }

    #[test]
    fn scaled_homography_shows_the_same_ground() {
        let homography =
            Calibration::new(&points(&IMAGE, &GROUND)).unwrap().homography([768.0, 576.0]).unwrap();
        let scaled = homography.scaled([2.0, 0.5]);
        let (a, b) = (homography.ground([400.0, 410.0]).unwrap(), scaled.ground([800.0, 205.0]).unwrap());
        assert!((a[0] - b[0]).hypot(a[1] - b[1]) < 1e-9);
        let (a, b) = (homography.image(GROUND[0]).unwrap(), scaled.image(GROUND[0]).unwrap());
        assert!((2.0 * a[0] - b[0]).hypot(0.5 * a[1] - b[1]) < 1e-9);
    }

    #[test]
    fn only_the_picture_that_was_measured_agrees_with_a_calibration() {
        let calibrations = [
            // The demo clip, whose camera's axis is off by 3% (PETS 2009).
            (Calibration::new(&points(&IMAGE, &GROUND)).unwrap(), (768, 576)),
            {
                let see = camera(600.0, 6.0, [25.0, 0.0, 0.0]);
                let ground = [[-4.0, 10.0], [4.0, 10.0], [5.0, 40.0], [-5.0, 40.0]];
                (Calibration::new(&points(&ground.map(see), &ground)).unwrap(), (640, 480))
            },
        ];
        for (calibration, (width, height)) in calibrations {
            assert!(!calibration.contradicts(&shape(width, height)), "{width}");
            assert!(calibration.contradicts(&shape(width / 2, height / 2)), "{width}");
            assert!(calibration.contradicts(&shape(2 * width, 2 * height)), "{width}");
        }
        let see = camera(600.0, 6.0, [25.0, 0.0, 0.0]);
        let ground = [[-4.0, 10.0], [4.0, 10.0], [5.0, 40.0], [-5.0, 40.0]];
        let calibration = Calibration::new(&points(&ground.map(see), &ground)).unwrap();
        assert!(!calibration.contradicts(&shape(704, 528)), "a tenth is within what people miss");
    }

    #[test]
    fn view_from_straight_above_contradicts_no_picture() {
        let ground = [[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0]];
        let image = [[100.0, 100.0], [300.0, 101.0], [299.0, 300.0], [100.0, 301.0]];
        let calibration = Calibration::new(&points(&image, &ground)).unwrap();
        assert!(!calibration.contradicts(&shape(320, 320)) && !calibration.contradicts(&shape(1920, 1080)));
    }

    #[test]
    fn nothing_beyond_the_horizon_is_on_the_ground() {
        let calibration = Calibration::new(&points(&IMAGE, &GROUND)).unwrap();
        let homography = calibration.homography([768.0, 576.0]).unwrap();
        assert!(homography.ground([400.0, 400.0]).is_some());
        assert_eq!(homography.ground([400.0, -2000.0]), None);
        // The same from its matrix, whatever its sign and scale.
        let matrix = calibration.world_from_image().map(|row| row.map(|value| -3.0 * value));
        let config = CalibrationConfig { points: Vec::new(), world_from_image: Some(matrix), drawn_on: None };
        let again = Calibration::new(&config).unwrap().homography([768.0, 576.0]).unwrap();
        assert_eq!(again.ground([400.0, -2000.0]), None);
        let (a, b) = (again.ground([400.0, 400.0]).unwrap(), homography.ground([400.0, 400.0]).unwrap());
        assert!((a[0] - b[0]).hypot(a[1] - b[1]) < 1e-9);
    }

    proptest! {
        #[test]
        fn there_and_back_is_the_same_point_and_jacobians_are_inverse(x in 0.0..768.0f64, y in 250.0..576.0f64) {
            let homography = Calibration::new(&points(&IMAGE, &GROUND)).unwrap().homography([768.0, 576.0]).unwrap();
            let ground = homography.ground([x, y]).unwrap();
            let back = homography.image(ground).unwrap();
            prop_assert!((back[0] - x).hypot(back[1] - y) < 1e-6);
            let product = homography.ground_by_image([x, y]).unwrap() * homography.image_by_ground(ground).unwrap();
            prop_assert!((product - Matrix2::identity()).norm() < 1e-6);
        }

        /// The axis of a camera is found, whatever its pose.
        #[test]
        fn camera_looks_past_the_middle_of_its_picture(
            focal in 300.0..1200.0f64, height in 3.0..20.0f64, tilt in 15.0..60.0f64, roll in -20.0..20.0f64, turn in -180.0..180.0f64,
            grow in 1.0..3.0f64,
        ) {
            let see = camera(focal, height, [tilt, roll, turn]);
            // Around the place where the axis meets the ground.
            let ahead = height / tilt.to_radians().tan();
            let turn = turn.to_radians();
            let ground = [[-3.0, -2.0], [3.0, -2.0], [3.0, 2.0], [-3.0, 2.0]]
                .map(|[x, y]| [x * turn.cos() + (y + ahead) * turn.sin(), (y + ahead) * turn.cos() - x * turn.sin()]);
            let homography = Homography::from_points(&points(&ground.map(&see), &ground).points).unwrap();
            if let Some(past) = homography.past_middle([640.0, 480.0]) {
                prop_assert!(past.abs() < 1e-3 * focal, "{past}");
                let roll = roll.to_radians();
                let larger = homography.past_middle([640.0 * grow, 480.0 * grow]).unwrap();
                let moved = (grow - 1.0) * (320.0 * roll.cos() + 240.0 * roll.sin());
                prop_assert!((larger.abs() - moved.abs()).abs() < 1e-2 * focal, "{larger} {moved}");
            }
        }

        #[test]
        fn any_points_give_a_homography_or_an_error(
            values in prop::collection::vec(prop::array::uniform4(prop_oneof![5 => -1e3..1e3f64, 1 => Just(0.0), 1 => any::<f64>()]), 0..9),
        ) {
            let (image, ground): (Vec<_>, Vec<_>) = values.iter().map(|[a, b, c, d]| ([*a, *b], [*c, *d])).unzip();
            if let Ok(calibration) = Calibration::new(&points(&image, &ground)) {
                let _ = calibration.homography([640.0, 480.0]).and_then(|homography| homography.ground([320.0, 240.0]));
            }
        }

        #[test]
        fn any_matrix_gives_a_homography_or_an_error(rows in prop::array::uniform3(prop::array::uniform3(any::<f64>()))) {
            if let Ok(homography) = Homography::from_matrix(rows) {
                let _ = homography.facing([320.0, 480.0]).and_then(|facing| facing.ground([320.0, 240.0]));
            }
        }
    }
}
