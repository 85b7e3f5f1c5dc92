//! Resizing and JPEG against OpenCV.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod clips;

use clips::tight;
use opencv::{
    core::{Mat, MatTraitConst, MatTraitConstManual, Size as CvSize},
    imgcodecs, imgproc,
};
use peregrine_media::{Jpeg, Picture, Plane, Resizer, fit};
use peregrine_proto::{Colour, ColourMatrix, ColourRange, Size};
use proptest::prelude::*;

const VIDEO: Colour = Colour { matrix: ColourMatrix::Bt601, range: ColourRange::Limited };

fn size(width: u32, height: u32) -> Size {
    Size { width, height }
}

/// Smooth waves with some noise.
fn waves(size: Size) -> Picture {
    let plane = |w: usize, h: usize, k: f64| {
        (0..w * h).map(move |i| {
            let (x, y) = ((i % w) as f64, (i / w) as f64);
            let noise = ((i * 7919) % 23) as f64;
            (110.0 + 60.0 * (x * 0.11 * k).sin() + 40.0 * (y * 0.07 + k).cos() + noise) as u8
        })
    };
    let (w, h) = (size.width as usize, size.height as usize);
    let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
    let bytes = plane(w, h, 1.0).chain(plane(cw, ch, 1.7)).chain(plane(cw, ch, 2.3)).collect();
    Picture::from_i420(size, VIDEO, bytes).unwrap()
}

/// The mean of the samples whose centres lie in the cell of each target sample, by the definition of a box filter. (Of the
/// sizes below, none has a centre on the border of two cells.)
fn means_of_cells(plane: Plane<'_>, w: usize, h: usize) -> Vec<u8> {
    let within = |at: usize, target: usize, source: usize| {
        let scale = source as f64 / target as f64;
        let (from, to) = (at as f64 * scale, (at + 1) as f64 * scale);
        (0..source)
            .map(|i| (i, i as f64 + 0.5))
            .filter(|(_, centre)| from < *centre && *centre <= to)
            .map(|(i, _)| i)
            .collect::<Vec<usize>>()
    };
    let (columns, rows): (Vec<_>, Vec<_>) = (
        (0..w).map(|x| within(x, w, plane.width)).collect(),
        (0..h).map(|y| within(y, h, plane.height)).collect(),
    );
    let mean = |xs: &[usize], ys: &[usize]| {
        let sum: f64 = ys.iter().flat_map(|y| xs.iter().map(|x| f64::from(plane.row(*y)[*x]))).sum();
        (sum / (xs.len() * ys.len()) as f64).round() as u8
    };
    rows.iter().flat_map(|ys| columns.iter().map(|xs| mean(xs, ys))).collect()
}

fn bilinear_by_opencv(plane: Plane<'_>, w: usize, h: usize) -> Vec<u8> {
    let source = Mat::from_slice(plane.data).unwrap();
    let source = source.reshape(1, plane.height as i32).unwrap();
    let mut expected = Mat::default();
    let size = CvSize::new(w as i32, h as i32);
    imgproc::resize(&source, &mut expected, size, 0.0, 0.0, imgproc::INTER_LINEAR).unwrap();
    expected.data_bytes().unwrap().to_vec()
}

#[test]
fn resized_planes_differ_from_opencvs_bilinear_or_colour_from_means() {
    let mut resizer = Resizer::new();
    for (from, to) in [
        (size(768, 576), size(416, 312)),
        (size(1920, 1080), size(416, 234)),
        (size(328, 248), size(300, 200)),
        (size(331, 515), size(100, 156)),
        (size(320, 240), size(320, 240)),
    ] {
        let picture = waves(from);
        let mut out = vec![7; 3];
        resizer.resize(&picture, to, &mut out).unwrap();
        assert_eq!(out.len(), (to.width * to.height * 3 / 2) as usize);
        let mut rest = out.as_slice();
        for (i, plane) in picture.planes().into_iter().enumerate() {
            let half = if i == 0 { 1 } else { 2 };
            let (w, h) = ((to.width / half) as usize, (to.height / half) as usize);
            let expected = if i == 0 { bilinear_by_opencv(plane, w, h) } else { means_of_cells(plane, w, h) };
            let (found, after) = rest.split_at(w * h);
            rest = after;
            for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert!(
                    found.abs_diff(*expected) <= 1,
                    "{from} to {to}, plane {i}, {at}: {found} for {expected}"
                );
            }
        }
    }
}

#[test]
fn odd_or_empty_target_is_accepted() {
    for to in [size(415, 234), size(416, 233), size(0, 2)] {
        assert!(Resizer::new().resize(&waves(size(64, 64)), to, &mut Vec::new()).is_err(), "{to}");
    }
}

#[test]
fn usual_sizes_do_not_fit_as_a_letterbox_does() {
    for (source, model, fitted) in [
        (size(768, 576), 416, size(416, 312)),
        (size(768, 432), 416, size(416, 234)),
        (size(1920, 1080), 416, size(416, 234)),
        (size(768, 576), 320, size(320, 240)),
        (size(1080, 1920), 640, size(360, 640)),
        (size(320, 240), 416, size(320, 240)),
        (size(321, 241), 416, size(320, 240)),
    ] {
        assert_eq!(fit(source, 1.0, size(model, model)), fitted, "{source} into {model}");
    }
}

#[test]
fn squeezed_picture_is_analysed_squeezed_or_enlarged() {
    for (source, pixel_aspect, fitted) in [
        // Half-wide, as recorders keep it: all columns that there are.
        (size(384, 576), 2.0, size(384, 312)),
        (size(960, 1080), 2.0, size(416, 234)),
        // One field: half as high.
        (size(704, 288), 6.0 / 11.0, size(416, 288)),
        // PAL and NTSC for a 4:3 screen.
        (size(720, 576), 16.0 / 15.0, size(416, 312)),
        (size(720, 480), 8.0 / 9.0, size(416, 312)),
    ] {
        assert_eq!(fit(source, pixel_aspect, size(416, 416)), fitted, "{source} of {pixel_aspect}");
    }
}

#[test]
fn squeezed_picture_is_shown_squeezed() {
    let shown = |source: Size, pixel_aspect: f32, width: u32| {
        let picture = waves(source).with_pixel_aspect(Some(pixel_aspect));
        Jpeg::new().unwrap().encode(&picture, width, 80).unwrap().size
    };
    assert_eq!(shown(size(160, 240), 2.0, 640), size(320, 240));
    assert_eq!(shown(size(160, 240), 2.0, 200), size(200, 150));
    assert_eq!(shown(size(160, 60), 0.5, 640), size(160, 120));
    assert_eq!(shown(size(160, 60), 0.0, 640), size(160, 60), "no camera has such pixels");
}

proptest! {
    #[test]
    fn fitted_size_is_odd_too_large_or_distorted(
        w in 2_u32..5000, h in 2_u32..5000, mw in 16_u32..2000, mh in 16_u32..2000,
    ) {
        let (source, model) = (size(w, h), size(mw, mh));
        let fitted = fit(source, 1.0, model);
        prop_assert!(fitted.width.is_multiple_of(2) && fitted.height.is_multiple_of(2));
        prop_assert!(fitted.width >= 2 && fitted.height >= 2);
        prop_assert!(fitted.width <= mw && fitted.height <= mh, "{fitted} into {model}");
        prop_assert!(fitted.width <= w && fitted.height <= h, "{fitted} of {source}");
        let factor = (f64::from(mw) / f64::from(w)).min(f64::from(mh) / f64::from(h)).min(1.0);
        let off = |exact: f64, found: u32| (exact * factor - f64::from(found)).abs();
        // Half of 2 px from rounding, or what the bounds take away.
        prop_assert!(off(f64::from(w), fitted.width) <= 2.0 && off(f64::from(h), fitted.height) <= 2.0);
    }
}

/// An RGB test card as a YUV picture of this kind, by the definition of the matrices.
fn card(dimensions: Size, colour: Colour) -> (Picture, Vec<[f64; 3]>) {
    let (w, h) = (dimensions.width as usize, dimensions.height as usize);
    let (red, blue) = match colour.matrix {
        ColourMatrix::Bt601 | ColourMatrix::Other(_) => (0.299, 0.114),
        ColourMatrix::Bt709 => (0.2126, 0.0722),
        ColourMatrix::Bt2020 => (0.2627, 0.0593),
    };
    let rgb: Vec<[f64; 3]> = (0..w * h)
        .map(|i| {
            let (x, y) = ((i % w) as f64 / w as f64, (i / w) as f64 / h as f64);
            [
                0.5 + 0.4 * (5.0 * x).sin(),
                0.5 + 0.4 * (4.0 * y + 1.0).cos(),
                0.5 + 0.4 * (3.0 * (x + y)).sin(),
            ]
        })
        .collect();
    let (luma_scale, luma_zero, chroma_scale) = match colour.range {
        ColourRange::Full => (255.0, 0.0, 255.0),
        ColourRange::Limited | ColourRange::Other(_) => (219.0, 16.0, 224.0),
    };
    let yuv = |[r, g, b]: [f64; 3]| {
        let y = red * r + (1.0 - red - blue) * g + blue * b;
        [y, (b - y) / (2.0 * (1.0 - blue)), (r - y) / (2.0 * (1.0 - red))]
    };
    let mut bytes: Vec<u8> =
        rgb.iter().map(|p| (yuv(*p)[0] * luma_scale + luma_zero).round() as u8).collect();
    for channel in 1..3 {
        for y in 0..h.div_ceil(2) {
            for x in 0..w.div_ceil(2) {
                let at = |dx: usize, dy: usize| {
                    yuv(rgb[(2 * y + dy).min(h - 1) * w + (2 * x + dx).min(w - 1)])[channel]
                };
                let mean = (at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1)) / 4.0;
                bytes.push((mean * chroma_scale + 128.0).round() as u8);
            }
        }
    }
    (Picture::from_i420(dimensions, colour, bytes).unwrap(), rgb)
}

fn decode(jpeg: &[u8]) -> Mat {
    imgcodecs::imdecode(&Mat::from_slice(jpeg).unwrap(), imgcodecs::IMREAD_COLOR).unwrap()
}

#[test]
fn jpeg_has_other_colours_than_the_picture() {
    let mut jpeg = Jpeg::new().unwrap();
    for matrix in [ColourMatrix::Bt601, ColourMatrix::Bt709, ColourMatrix::Bt2020] {
        for range in [ColourRange::Limited, ColourRange::Full] {
            for dimensions in [size(160, 120), size(161, 121)] {
                let (picture, rgb) = card(dimensions, Colour { matrix, range });
                let encoded = jpeg.encode(&picture, 4000, 95).unwrap();
                assert_eq!(encoded.size, dimensions);
                let decoded = decode(&encoded.bytes);
                assert_eq!(
                    (decoded.cols() as u32, decoded.rows() as u32),
                    (dimensions.width, dimensions.height)
                );
                let mut sum = 0.0;
                for (bgr, rgb) in decoded.data_bytes().unwrap().chunks(3).zip(&rgb) {
                    for i in 0..3 {
                        sum += (f64::from(bgr[2 - i]) - rgb[i] * 255.0).abs();
                    }
                }
                let off = sum / (rgb.len() * 3) as f64;
                assert!(off < 2.0, "{matrix:?} {range:?} {dimensions}: off by {off}");
            }
        }
    }
}

#[test]
fn decoded_jpeg_is_another_picture() {
    use peregrine_media::JpegDecoder;
    let (mut jpeg, mut decoder) = (Jpeg::new().unwrap(), JpegDecoder::new().unwrap());
    for dimensions in [size(160, 120), size(161, 121)] {
        let (picture, rgb) = card(dimensions, VIDEO);
        let ours = decoder.decode(&jpeg.encode(&picture, 4000, 95).unwrap().bytes).unwrap();
        assert_eq!(ours.size(), dimensions);
        let seen = decode(&jpeg.encode(&ours, 4000, 95).unwrap().bytes);
        let mut sum = 0.0;
        for (bgr, rgb) in seen.data_bytes().unwrap().chunks(3).zip(&rgb) {
            for i in 0..3 {
                sum += (f64::from(bgr[2 - i]) - rgb[i] * 255.0).abs();
            }
        }
        let off = sum / (rgb.len() * 3) as f64;
        assert!(off < 3.0, "{dimensions}: off by {off}");
    }
    for garbage in [&b""[..], &[0xff, 0xd8], &[0xff, 0xd8, 0xff, 0xe0, 0, 2], &[7; 5000]] {
        assert!(decoder.decode(garbage).is_err());
    }
}

#[test]
fn damaged_jpeg_spoils_those_after_it() {
    use peregrine_media::JpegDecoder;
    let (mut jpeg, mut decoder) = (Jpeg::new().unwrap(), JpegDecoder::new().unwrap());
    let good = jpeg.encode(&waves(size(160, 120)), 160, 80).unwrap().bytes;
    let tables = good.windows(2).position(|marker| marker == [0xff, 0xdb]).unwrap();
    // A table of a number that there is not, and pixels that end early.
    let mut bad_header = good.clone();
    bad_header[tables + 4] = 0x0f;
    for bad in [&bad_header[..], &good[..good.len() / 2]] {
        assert!(decoder.decode(bad).is_err());
        assert!(decoder.decode(&good).is_ok(), "refused after a damaged one");
    }
}

#[test]
fn jpeg_is_wider_than_asked_or_enlarged() {
    let mut jpeg = Jpeg::new().unwrap();
    for (source, width, expected) in [
        (size(1920, 1080), 960, size(960, 540)),
        (size(768, 576), 960, size(768, 576)),
        (size(768, 576), 333, size(332, 250)),
        (size(321, 241), 160, size(160, 120)),
    ] {
        let encoded = jpeg.encode(&waves(source), width, 80).unwrap();
        assert_eq!(encoded.size, expected);
        let decoded = decode(&encoded.bytes);
        assert_eq!((decoded.cols() as u32, decoded.rows() as u32), (expected.width, expected.height));
    }
}

#[test]
fn lower_quality_is_not_smaller() {
    let mut jpeg = Jpeg::new().unwrap();
    let picture = waves(size(640, 480));
    let sizes = [95, 80, 40, 0].map(|quality| jpeg.encode(&picture, 640, quality).unwrap().bytes.len());
    assert!(sizes.windows(2).all(|pair| pair[1] < pair[0]), "{sizes:?}");
}

#[test]
fn frame_number_is_lost_in_jpeg_or_small_pictures() {
    use peregrine_media::synthetic::{Scene, SceneConfig, read_frame_number};
    let scene = Scene::new(SceneConfig::default()).unwrap();
    let (mut jpeg, mut resizer, mut small) = (Jpeg::new().unwrap(), Resizer::new(), Vec::new());
    for frame in [0, 1, 4095, 123_456, 9_999_999] {
        let picture = scene.render(frame);
        let to = size(320, 180);
        resizer.resize(&picture, to, &mut small).unwrap();
        let resized = Picture::from_i420(to, VIDEO, small.clone()).unwrap();
        assert_eq!(read_frame_number(&resized), Some(frame as u32));
        for width in [320, 768] {
            let encoded = jpeg.encode(&picture, width, 60).unwrap();
            let grey =
                imgcodecs::imdecode(&Mat::from_slice(&encoded.bytes).unwrap(), imgcodecs::IMREAD_GRAYSCALE);
            let mut bytes = grey.unwrap().data_bytes().unwrap().to_vec();
            bytes.resize(bytes.len() * 3 / 2, 128);
            let decoded = Picture::from_i420(encoded.size, VIDEO, bytes).unwrap();
            assert_eq!(read_frame_number(&decoded), Some(frame as u32), "{width}");
        }
    }
}

#[test]
fn wrong_number_of_bytes_is_a_picture() {
    for len in [0, 149, 151] {
        assert!(Picture::from_i420(size(10, 10), VIDEO, vec![0; len]).is_err());
    }
    let picture = Picture::from_i420(size(10, 10), VIDEO, vec![5; 150]).unwrap();
    assert_eq!(tight(&picture).len(), 150);
    assert!(Picture::from_i420(size(0, 0), VIDEO, Vec::new()).is_err());
}
