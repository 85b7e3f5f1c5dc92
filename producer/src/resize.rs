//! `resize`: source size to analysed size, as tight I420 with the header that explains it.

use std::time::{Duration, Instant};

use peregrine_media::{Captured, ResizeError, Resizer, fit};
use peregrine_proto::{FrameHeader, Size, Stage};

/// Where no processor has announced a model in time.
pub(crate) const FALLBACK_INPUT: Size = Size { width: 640, height: 640 };

/// How large the analysed picture is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnalysedSize {
    /// As the camera's configuration says.
    Fixed(Size),
    /// As large as fits a model's input, in its true shape.
    Fitted(Size),
}

impl AnalysedSize {
    /// Even, and never larger than the source.
    pub(crate) fn of(self, source: Size, pixel_aspect: f32) -> Size {
        let even = |wanted: u32, most: u32| (wanted.min(most) & !1).max(2);
        match self {
            Self::Fixed(size) => {
                Size { width: even(size.width, source.width), height: even(size.height, source.height) }
            }
            Self::Fitted(input) => fit(source, pixel_aspect, input),
        }
    }
}

/// Makes the pixels that travel, in a buffer that is used again.
#[derive(Default)]
pub(crate) struct Shrinker {
    resizer: Resizer,
    pixels: Vec<u8>,
}

impl Shrinker {
    /// The header and the pixels of a picture.
    pub(crate) fn shrink(
        &mut self,
        captured: &Captured,
        size: AnalysedSize,
    ) -> Result<(FrameHeader, &[u8]), ResizeError> {
        let began = Instant::now();
        let picture = &captured.picture;
        let source = picture.size();
        let analysed = size.of(source, picture.pixel_aspect());
        self.resizer.resize(picture, analysed, &mut self.pixels)?;
        let mut header = FrameHeader {
            position: captured.position,
            media_time_us: captured.media_time_us,
            captured_at_us: captured.captured_at_us,
            pixel_aspect: picture.pixel_aspect(),
            rotation: picture.rotation(),
            colour: picture.colour(),
            discontinuity: captured.discontinuity,
            stages: Vec::with_capacity(5),
            damaged: captured.damage.is_some(),
            ..FrameHeader::of_picture(source, analysed)
        };
        let held = began.saturating_duration_since(captured.arrived).saturating_sub(captured.decode);
        let took: [(Stage, Duration); 4] = [
            (Stage::Capture, captured.capture),
            (Stage::Decode, captured.decode),
            (Stage::Hold, held),
            (Stage::Resize, began.elapsed()),
        ];
        took.into_iter().for_each(|(stage, took)| header.stamp(stage, took));
        Ok((header, &self.pixels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn analysed_size_is_odd_or_larger_than_the_source() {
        let size = |width, height| Size { width, height };
        assert_eq!(AnalysedSize::Fixed(size(417, 235)).of(size(1920, 1080), 1.0), size(416, 234));
        assert_eq!(AnalysedSize::Fixed(size(4000, 300)).of(size(641, 481), 1.0), size(640, 300));
        assert_eq!(AnalysedSize::Fitted(size(416, 416)).of(size(1920, 1080), 1.0), size(416, 234));
        assert_eq!(AnalysedSize::Fitted(size(640, 640)).of(size(320, 240), 1.0), size(320, 240));
        // Half as wide as it should be: not a column is lost, and rows only as the model's input wants it.
        assert_eq!(AnalysedSize::Fitted(size(416, 416)).of(size(384, 576), 2.0), size(384, 312));
        assert_eq!(AnalysedSize::Fitted(size(416, 416)).of(size(960, 1080), 2.0), size(416, 234));
    }
}
