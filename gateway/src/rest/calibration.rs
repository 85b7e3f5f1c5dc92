//! Calibration by trial: points in, homography and residuals out; nothing is kept.

use axum::{Json, http::StatusCode};
use peregrine_geometry::Calibration;
use peregrine_proto::{CalibrationConfig, CalibrationPoint};
use serde::{Deserialize, Serialize};

use super::{JsonBody, Refused};

/// More say nothing that these do not, and each costs time.
const MOST_POINTS: usize = 256;

/// Points of the ground, as they were clicked and measured.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Points {
    pub(crate) points: Vec<CalibrationPoint>,
}

/// What they determine.
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
}

/// `POST /api/calibration`
pub(crate) async fn fit(JsonBody(Points { points }): JsonBody<Points>) -> Result<Json<Fit>, Refused> {
    if points.len() > MOST_POINTS {
        return Err(Refused::invalid(vec![format!("{} points: {MOST_POINTS} are enough", points.len())]));
    }
    let fitted = tokio::task::spawn_blocking(move || fit_points(points)).await;
    match fitted {
        Ok(Ok(fit)) => Ok(Json(fit)),
        Ok(Err(problem)) => Err(Refused::invalid(vec![problem])),
        Err(_) => Err(Refused::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the calibration broke down: report these points",
        )),
    }
}

pub(crate) fn fit_points(points: Vec<CalibrationPoint>) -> Result<Fit, String> {
    let config = CalibrationConfig { points, world_from_image: None };
    let calibration = Calibration::new(&config).map_err(|error| error.to_string())?;
    let residuals_px = calibration.residuals_px().to_vec();
    let squares: f64 = residuals_px.iter().map(|residual| residual * residual).sum();
    let fit = Fit {
        world_from_image: calibration.world_from_image(),
        image_from_world: calibration.image_from_world(),
        rms_px: (squares / residuals_px.len() as f64).sqrt(),
        residuals_px,
    };
    let all = fit.world_from_image.iter().chain(&fit.image_from_world).flatten().chain(&fit.residuals_px);
    // JSON has no word for what is no number.
    if all.chain([&fit.rms_px]).all(|value| value.is_finite()) {
        Ok(fit)
    } else {
        Err("these points are too far apart to calculate with: check their units".into())
    }
}
