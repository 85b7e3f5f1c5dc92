//! Calibration by trial: points in, homography, residuals and what they imply out; nothing is kept.

use axum::{Json, http::StatusCode};
use peregrine_geometry::{Calibration, View, crosses_itself};
use peregrine_proto::{CalibrationConfig, CalibrationPoint, CameraConfig, Size};
use serde::{Deserialize, Serialize};

use super::{JsonBody, Refused};

/// More say nothing that these do not, and each costs time.
const MOST_POINTS: usize = 256;
const CROSSED: &str =
    "the region's edges cross, so that what is inside is not what it looks like: give its corners in order";
/// Sides of a picture that anybody has, pixels.
const SIDES: std::ops::RangeInclusive<u32> = 16..=16_384;
/// Widths of usual pictures, 16:9.
const USUAL_WIDTHS: [u32; 5] = [640, 1280, 1920, 2560, 3840];

/// A calibration to try.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trial {
    /// Points of the ground, as they were clicked and measured.
    #[serde(default)]
    points: Vec<CalibrationPoint>,
    /// Or the matrix itself.
    #[serde(default)]
    world_from_image: Option<[[f64; 3]; 3]>,
    /// Size of the picture that it is for; without, it is judged for a usual one.
    #[serde(default)]
    picture: Option<Size>,
}

/// The view that the calibration determines.
#[derive(Debug, Serialize)]
pub(crate) struct Fit {
    /// Homogeneous source pixels to homogeneous metres, row by row.
    world_from_image: [[f64; 3]; 3],
    /// And back.
    image_from_world: [[f64; 3]; 3],
    /// Distance in pixels between each point and the picture of its ground position.
    residuals_px: Vec<f64>,
    /// Their root mean square, pixels.
    rms_px: f64,
    /// The camera that would see the ground so; null without a picture's size, and where no ground is in the picture.
    view: Option<SeenFrom>,
    /// Doubts about the calibration, a sentence each.
    warnings: Vec<String>,
}

/// See [`View`].
#[derive(Debug, Serialize)]
struct SeenFrom {
    camera_height_m: f64,
    tilt_deg: f64,
    angle_deg: f64,
    nearest_m: f64,
    farthest_m: Option<f64>,
    person_px: Option<f64>,
    image_from_space: [[f64; 4]; 3],
}

/// `POST /api/calibration`
pub(crate) async fn fit(JsonBody(trial): JsonBody<Trial>) -> Result<Json<Fit>, Refused> {
    let n = trial.points.len();
    if n > MOST_POINTS {
        return Err(Refused::invalid(vec![format!("{n} points: {MOST_POINTS} are enough")]));
    }
    let fitted = tokio::task::spawn_blocking(move || try_out(trial)).await;
    match fitted {
        Ok(Ok(fit)) => Ok(Json(fit)),
        Ok(Err(problem)) => Err(Refused::invalid(vec![problem])),
        Err(_) => Err(Refused::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the calibration broke down: report these points",
        )),
    }
}

pub(crate) fn try_out(Trial { points, world_from_image, picture }: Trial) -> Result<Fit, String> {
    if let Some(Size { width, height }) = picture
        && !(SIDES.contains(&width) && SIDES.contains(&height))
    {
        return Err(format!("picture is {width}x{height}: use 16x16 to 16384x16384"));
    }
    let config = CalibrationConfig { points, world_from_image, drawn_on: None };
    let calibration = Calibration::new(&config).map_err(|error| error.to_string())?;
    let residuals_px = calibration.residuals_px().to_vec();
    let squares: f64 = residuals_px.iter().map(|residual| residual * residual).sum();
    let view = picture.and_then(|picture| View::of(&calibration, picture));
    let fit = Fit {
        world_from_image: calibration.world_from_image(),
        image_from_world: calibration.image_from_world(),
        rms_px: (squares / residuals_px.len().max(1) as f64).sqrt(),
        residuals_px,
        warnings: doubts(&calibration, picture.unwrap_or_else(|| usual_picture(&config))),
        view: view.map(|view| SeenFrom {
            camera_height_m: view.camera_height_m,
            tilt_deg: view.tilt_deg,
            angle_deg: view.angle_deg,
            nearest_m: view.nearest_m,
            farthest_m: view.farthest_m,
            person_px: view.person_px,
            image_from_space: view.image_from_space,
        }),
    };
    let all = fit.world_from_image.iter().chain(&fit.image_from_world).flatten().chain(&fit.residuals_px);
    // JSON has no word for what is no number.
    if all.chain([&fit.rms_px]).all(|value| value.is_finite()) {
        Ok(fit)
    } else {
        Err("these points are too far apart to calculate with: check their units".into())
    }
}

/// Doubts about a camera's region and calibration, a sentence each. Before its first picture,
/// `picture` is none: a usual one is assumed.
pub(crate) fn warnings(config: &CameraConfig, picture: Option<Size>) -> Vec<String> {
    let crossed = crosses_itself(&config.analysis.region).then(|| CROSSED.to_owned());
    crossed.into_iter().chain(calibration_warnings(config, picture)).collect()
}

fn calibration_warnings(config: &CameraConfig, picture: Option<Size>) -> Vec<String> {
    let Some(config) = &config.calibration else { return Vec::new() };
    let Ok(calibration) = Calibration::new(config) else { return Vec::new() };
    let drawn_on = config.drawn_on.map(|shape| shape.size());
    doubts(&calibration, drawn_on.or(picture).unwrap_or_else(|| usual_picture(config)))
}

fn doubts(calibration: &Calibration, picture: Size) -> Vec<String> {
    calibration.doubts(picture).iter().map(ToString::to_string).collect()
}

/// The smallest usual picture that has all points.
fn usual_picture(config: &CalibrationConfig) -> Size {
    let across = config.points.iter().map(|CalibrationPoint { image: [x, y], .. }| x.max(y * 16.0 / 9.0));
    let width = across.fold(0.0, f64::max);
    let usual = USUAL_WIDTHS.into_iter().find(|usual| f64::from(*usual) >= width);
    let width = usual.unwrap_or(USUAL_WIDTHS[USUAL_WIDTHS.len() - 1]);
    Size { width, height: width * 9 / 16 }
}
