//! A folder of pictures.

use std::{
    cmp::Ordering,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use opencv::{core::MatTraitConst, imgcodecs};
use peregrine_proto::{Size, SourceUri};

use super::{
    Captured, Source, SourceCounts, SourceError, SourceInfo, capture,
    times::{Clock, Times},
};
use crate::{Picture, convert::Converter};

/// Frames per second where none are configured.
const DEFAULT_FPS: f64 = 10.0;

/// The pictures of a folder, in the order a person would count their names.
pub(super) struct ImagesSource {
    files: Vec<PathBuf>,
    info: SourceInfo,
    times: Times,
    converter: Converter,
    next: usize,
    counts: SourceCounts,
}

impl ImagesSource {
    pub(super) fn open(folder: &Path, uri: &SourceUri, fps: Option<f64>) -> Result<Self, SourceError> {
        capture::quiet();
        let unusable = |why: String| SourceError::Unusable { uri: uri.to_string(), why };
        let entries = fs::read_dir(folder).map_err(|error| unusable(error.to_string()))?;
        let mut files: Vec<PathBuf> =
            entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_picture(path)).collect();
        files.sort_by(|a, b| by_name(a, b));
        if files.is_empty() {
            return Err(unusable("it has no .jpg, .jpeg, .png or .bmp files".into()));
        }
        let mut converter = Converter::default();
        let size = files
            .iter()
            .find_map(|path| read_picture(path, &mut converter).ok())
            .map(|picture| picture.size())
            .ok_or_else(|| unusable("none of its pictures can be read".into()))?;
        let fps = fps.unwrap_or(DEFAULT_FPS);
        Ok(Self {
            info: SourceInfo { size, fps, live: false, frames: Some(files.len() as u64) },
            times: Times::of_rate(fps),
            files,
            converter,
            next: 0,
            counts: SourceCounts::default(),
        })
    }
}

impl Source for ImagesSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self) -> Result<Option<Captured>, SourceError> {
        while let Some(path) = self.files.get(self.next) {
            let position = self.next as u64;
            self.next += 1;
            let (arrival, started) = (Clock::now(), Instant::now());
            match read_picture(path, &mut self.converter) {
                Ok(picture) => {
                    let (media_time_us, jumped) =
                        self.times.of(position, None, arrival, &mut self.counts.times);
                    return Ok(Some(Captured {
                        picture,
                        position,
                        media_time_us,
                        captured_at_us: arrival.wall_us,
                        arrived: arrival.steady,
                        discontinuity: jumped,
                        damage: None,
                        capture: Duration::ZERO,
                        decode: started.elapsed(),
                    }));
                }
                Err(why) => {
                    self.counts.undecodable += 1;
                    tracing::warn!(picture = %path.display(), why, "picture left out");
                }
            }
        }
        Ok(None)
    }

    fn rewind(&mut self) -> Result<(), SourceError> {
        self.next = 0;
        self.times.mark_discontinuity();
        Ok(())
    }

    fn skip_to(&mut self, position: u64) -> Result<(), SourceError> {
        self.next = self.next.max(usize::try_from(position).unwrap_or(usize::MAX).min(self.files.len()));
        Ok(())
    }

    fn counts(&self) -> SourceCounts {
        self.counts
    }
}

fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(|text| text.to_str()).unwrap_or_default();
    ["jpg", "jpeg", "png", "bmp"].iter().any(|known| extension.eq_ignore_ascii_case(known)) && path.is_file()
}

fn read_picture(path: &Path, converter: &mut Converter) -> Result<Picture, String> {
    let name = path.to_str().ok_or("its name is not UTF-8")?;
    let mat = imgcodecs::imread(name, imgcodecs::IMREAD_COLOR).map_err(|error| error.message)?;
    if mat.empty() {
        return Err("it cannot be decoded".into());
    }
    capture::to_picture(&mat, Size { width: 0, height: 0 }, converter)
}

/// Names in the order a person counts them: `frame2` before `frame10`.
fn by_name(a: &Path, b: &Path) -> Ordering {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (a, b) = (name(a), name(b));
    natural(&a, &b).then_with(|| a.cmp(&b))
}

fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    while let (Some(x), Some(y)) = (a.chars().next(), b.chars().next()) {
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let number =
                |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let ((x, rest_a), (y, rest_b)) = (a.split_at(number(a)), b.split_at(number(b)));
            let (x, y) = (x.trim_start_matches('0'), y.trim_start_matches('0'));
            match x.len().cmp(&y.len()).then_with(|| x.cmp(y)) {
                Ordering::Equal => (a, b) = (rest_a, rest_b),
                unequal => return unequal,
            }
        } else {
            match x.to_lowercase().cmp(y.to_lowercase()) {
                Ordering::Equal => (a, b) = (&a[x.len_utf8()..], &b[y.len_utf8()..]),
                unequal => return unequal,
            }
        }
    }
    a.len().cmp(&b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_not_sorted_as_a_person_counts() {
        let mut names = ["img10.png", "img2.png", "IMG1.png", "img02b.png", "a.png", "img010.png"];
        names.sort_by(|a, b| natural(a, b).then_with(|| a.cmp(b)));
        assert_eq!(names, ["a.png", "IMG1.png", "img2.png", "img02b.png", "img010.png", "img10.png"]);
    }
}
