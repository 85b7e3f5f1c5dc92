//! The synthetic scene as a source.

use std::time::{Duration, Instant};

use super::{
    Captured, Source, SourceError, SourceInfo, TimeRepairs,
    times::{Clock, Times},
};
use crate::synthetic::{Scene, SceneConfig};

pub(super) struct SyntheticSource {
    scene: Scene,
    info: SourceInfo,
    times: Times,
    position: u64,
}

impl SyntheticSource {
    pub(super) fn open(text: &str, fps: Option<f64>) -> Result<Self, SourceError> {
        let address = |why| SourceError::Address { uri: format!("synthetic:{text}"), why };
        let mut config = SceneConfig::parse(text).map_err(address)?;
        config.fps = fps.unwrap_or(config.fps);
        let scene = Scene::new(config).map_err(address)?;
        let config = scene.config();
        let info = SourceInfo {
            size: config.size,
            fps: config.fps,
            live: false,
            frames: (config.frames > 0).then_some(config.frames),
        };
        Ok(Self { times: Times::of_rate(config.fps), info, scene, position: 0 })
    }
}

impl Source for SyntheticSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self) -> Result<Option<Captured>, SourceError> {
        let position = self.position;
        if self.info.frames.is_some_and(|frames| position >= frames) {
            return Ok(None);
        }
        self.position += 1;
        let (arrival, started) = (Clock::now(), Instant::now());
        let picture = self.scene.render(position);
        let (media_time_us, discontinuity) =
            self.times.of(position, None, arrival, &mut TimeRepairs::default());
        Ok(Some(Captured {
            picture,
            position,
            media_time_us,
            captured_at_us: arrival.wall_us,
            arrived: arrival.steady,
            discontinuity,
            damage: None,
            capture: Duration::ZERO,
            decode: started.elapsed(),
        }))
    }

    fn rewind(&mut self) -> Result<(), SourceError> {
        self.position = 0;
        self.times.mark_discontinuity();
        Ok(())
    }

    fn skip_to(&mut self, position: u64) -> Result<(), SourceError> {
        self.position = self.position.max(position);
        Ok(())
    }
}
