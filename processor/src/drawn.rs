//! The region and the calibration that people drew on a camera's picture, fitted to the picture of now.
//!
//! Both know the picture that they were drawn on. A picture of the same true shape scales them; another shape switches them
//! off, since nobody knows whether it shows more, less, or the same squeezed. Drawn without saying on what, they are taken
//! to be drawn on the first picture that comes, unless that contradicts the calibration.

use std::fmt;

use peregrine_geometry::{Calibration, Homography};
use peregrine_proto::{CameraConfig, Notice, PictureShape};
use serde::{Deserialize, Serialize};

use crate::region::Region;

/// The region and the calibration of a camera.
#[derive(Debug, Clone)]
pub(crate) struct Drawn {
    region: Region,
    calibration: Option<Calibration>,
    /// Whether the configuration itself says what they were drawn on.
    said: [bool; 2],
    memory: Memory,
    /// None before the first picture.
    fitted: Option<Fitted>,
}

/// State that is kept from frame to frame and handed to the next processor.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// The picture of the last frame.
    picture: Option<PictureShape>,
    /// The picture that the region was drawn on, as configured or as taken to be.
    region_on: Option<PictureShape>,
    /// Tells regions apart.
    region_print: u64,
    /// The picture that the calibration was drawn on, as configured or as taken to be.
    calibration_on: Option<PictureShape>,
}

/// Region and calibration in the pixels of a picture.
#[derive(Debug, Clone)]
struct Fitted {
    picture: PictureShape,
    region: Fit<Region>,
    calibration: Fit<Homography>,
}

/// A drawing, fitted to a picture.
#[derive(Debug, Clone)]
enum Fit<T> {
    /// Nothing was drawn.
    None,
    /// In the pixels of the picture.
    On(T),
    /// Switched off.
    Off,
}

/// The change from the last picture to this one, as the tracks need it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Change {
    /// The picture is as the last one.
    None,
    /// The same scene in other pixels: what was at `[x, y]` is at `[x * sx, y * sy]`.
    Scaled([f64; 2]),
    /// Nobody knows where what was seen is now.
    Other,
}

/// Something to be told once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DrawnNews {
    /// The drawing that it is about.
    pub what: DrawnThing,
    /// The picture of now.
    pub picture: PictureShape,
    /// The event.
    pub event: DrawnEvent,
}

/// A kind of drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrawnThing {
    /// `analysis.region`.
    Region,
    /// `calibration`.
    Calibration,
}

/// An event of a drawing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DrawnEvent {
    /// It does not say what it was drawn on: taken to be the picture of now.
    Assumed,
    /// It does not say what it was drawn on, and the picture of now contradicts it: off.
    Contradicted,
    /// It was drawn on a picture of another shape: off.
    Off(PictureShape),
    /// It fits again.
    On,
}

impl DrawnThing {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Region, Self::Calibration];

    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Region => "region",
            Self::Calibration => "calibration",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Region => "analysis.region_drawn_on",
            Self::Calibration => "calibration.drawn_on",
        }
    }

    fn without(self) -> &'static str {
        match self {
            Self::Region => "tracks do not say whether they are in it",
            Self::Calibration => "tracks have no speed and no place on the ground",
        }
    }
}

impl DrawnNews {
    /// Whether it is a warning: something is off.
    pub fn is_warning(&self) -> bool {
        matches!(self.event, DrawnEvent::Off(_) | DrawnEvent::Contradicted)
    }
}

impl fmt::Display for DrawnNews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, picture, event } = self;
        let (name, key, without) = (what.as_str(), what.key(), what.without());
        match event {
            DrawnEvent::Assumed => write!(
                f,
                "the {name} does not say what picture it was drawn on: taken to be one of {picture}, as the camera gives \
                 now; saving it again on the page, or {key}, keeps that"
            ),
            DrawnEvent::Contradicted => write!(
                f,
                "the {name} is off: it does not say what picture it was drawn on, and seems to be drawn on one of another \
                 size than {picture}; {without} until it is drawn again, or {key} says the size"
            ),
            DrawnEvent::Off(drawn_on) => write!(
                f,
                "the {name} is off: it was drawn on {drawn_on}, and the picture now has another shape, {picture}; \
                 {without} until it is drawn again, or {key} says {picture}"
            ),
            DrawnEvent::On => write!(f, "the {name} fits the picture again, {picture}"),
        }
    }
}

impl Drawn {
    /// The drawings of a configuration; `calibration` is made of it.
    pub(crate) fn new(config: &CameraConfig, calibration: Option<Calibration>) -> Self {
        let region_on = config.analysis.region_drawn_on;
        let calibration_on = config.calibration.as_ref().and_then(|calibration| calibration.drawn_on);
        Self {
            region: Region::new(&config.analysis.region),
            calibration,
            said: [region_on.is_some(), calibration_on.is_some()],
            memory: Memory {
                picture: None,
                region_on,
                region_print: print(&config.analysis.region),
                calibration_on,
            },
            fitted: None,
        }
    }

    pub(crate) fn calibration(&self) -> Option<&Calibration> {
        self.calibration.as_ref()
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Goes on with what the processor before remembered of the same camera. True where the speeds that were measured
    /// with the calibration still hold; `same_calibration` says that its numbers are the same.
    pub(crate) fn recall(&mut self, before: Memory, same_calibration: bool) -> bool {
        let Memory { picture, region_on, region_print, calibration_on } = before;
        self.memory.picture = picture.filter(is_usable);
        if !self.said[0] && region_print == self.memory.region_print {
            self.memory.region_on = region_on.filter(is_usable);
        }
        if !self.said[1] && same_calibration {
            self.memory.calibration_on = calibration_on.filter(is_usable);
        }
        self.fitted = None;
        same_calibration && self.memory.calibration_on == calibration_on
    }

    /// Takes in the picture of the next frame, and whatever is to be told about it.
    pub(crate) fn see(&mut self, picture: PictureShape, news: &mut Vec<DrawnNews>) -> Change {
        let before = self.memory.picture.replace(picture);
        if self.fitted.as_ref().is_none_or(|fitted| fitted.picture != picture) {
            self.fit(picture, news);
        }
        match before {
            Some(before) if before != picture => match before.scale_to(&picture) {
                Some(scale) => Change::Scaled(scale),
                None => Change::Other,
            },
            _ => Change::None,
        }
    }

    fn fit(&mut self, picture: PictureShape, news: &mut Vec<DrawnNews>) {
        let before = self.fitted.take();
        let was_off = before.as_ref().map(|before| (before.region.is_off(), before.calibration.is_off()));
        let (region_was_off, calibration_was_off) = was_off.unwrap_or_default();
        let mut tell = |what, event| news.push(DrawnNews { what, picture, event });

        let mut region = Fit::None;
        if !self.region.is_everything() {
            let what = DrawnThing::Region;
            let on = *self.memory.region_on.get_or_insert_with(|| {
                tell(what, DrawnEvent::Assumed);
                picture
            });
            region = match on.scale_to(&picture) {
                Some(scale) => Fit::On(self.region.scaled(scale)),
                None => Fit::Off,
            };
            match region {
                Fit::Off => tell(what, DrawnEvent::Off(on)),
                _ if region_was_off => tell(what, DrawnEvent::On),
                _ => {}
            }
        }

        let mut fitted = Fit::None;
        if let Some(calibration) = &self.calibration {
            let what = DrawnThing::Calibration;
            if self.memory.calibration_on.is_none() && !calibration.contradicts(&picture) {
                self.memory.calibration_on = Some(picture);
                tell(what, DrawnEvent::Assumed);
            }
            fitted = Fit::Off;
            match self.memory.calibration_on.map(|on| (on, on.scale_to(&picture))) {
                None => tell(what, DrawnEvent::Contradicted),
                Some((on, None)) => tell(what, DrawnEvent::Off(on)),
                Some((on, Some(scale))) => {
                    let size = [f64::from(on.width), f64::from(on.height)];
                    fitted = calibration.homography(size).map_or(Fit::None, |h| Fit::On(h.scaled(scale)));
                    if calibration_was_off {
                        tell(what, DrawnEvent::On);
                    }
                }
            }
        }
        self.fitted = Some(Fitted { picture, region, calibration: fitted });
    }

    /// Where pixels of the last picture lie on the ground; none without a calibration, and while it is off.
    pub(crate) fn homography(&self) -> Option<&Homography> {
        match &self.fitted.as_ref()?.calibration {
            Fit::On(homography) => Some(homography),
            Fit::None | Fit::Off => None,
        }
    }

    /// Whether a point of the last picture, pixels, lies in the region. True without one, and while it is off.
    pub(crate) fn in_region(&self, point: [f64; 2]) -> bool {
        match self.fitted.as_ref().map(|fitted| &fitted.region) {
            Some(Fit::On(region)) => region.contains(point),
            Some(Fit::None | Fit::Off) | None => true,
        }
    }

    /// Notices of the drawings that are off for the last picture.
    pub(crate) fn notices(&self) -> Vec<Notice> {
        let Some(fitted) = &self.fitted else { return Vec::new() };
        let region = fitted.region.is_off().then_some(Notice::RegionOff);
        let calibration = fitted.calibration.is_off().then_some(Notice::CalibrationOff);
        region.into_iter().chain(calibration).collect()
    }
}

impl<T> Fit<T> {
    fn is_off(&self) -> bool {
        matches!(self, Self::Off)
    }
}

/// Whether a shape from a checkpoint can be calculated with.
fn is_usable(shape: &PictureShape) -> bool {
    shape.width > 0 && shape.height > 0 && shape.pixel_aspect.is_finite() && shape.pixel_aspect > 0.0
}

/// FNV-1a (Fowler, Noll and Vo) of a polygon's numbers: the same in every process.
fn print(corners: &[[f32; 2]]) -> u64 {
    let bytes = corners.iter().flatten().flat_map(|value| value.to_bits().to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
