//! The model's input against OpenCV's: cvtColor, resize, a border.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use opencv::{core, imgproc, prelude::*};
use peregrine_processor::model::{
    ColourOrder, Head, ModelInfo, Placement, PreprocessError, Preprocessor, ValueRange,
};
use peregrine_proto::{Colour, ColourMatrix, ColourRange, FrameHeader, Size};
use proptest::prelude::*;

const BT601: Colour = Colour { matrix: ColourMatrix::Bt601, range: ColourRange::Limited };

fn size(width: u32, height: u32) -> Size {
    Size { width, height }
}

fn info(input: Size, placement: Placement) -> ModelInfo {
    ModelInfo {
        name: "m".into(),
        input,
        head: Head::YoloV8,
        rivals: Vec::new(),
        classes: Vec::new(),
        colour: ColourOrder::Rgb,
        range: ValueRange::Byte,
        placement,
        pad: 114,
        licence: None,
    }
}

fn header(source: Size, analysed: Size, colour: Colour) -> FrameHeader {
    FrameHeader { colour, ..FrameHeader::of_picture(source, analysed) }
}

/// Some picture, the same for the same seed.
fn noise(size: Size, seed: u64) -> Vec<u8> {
    let (w, h) = (size.width as usize, size.height as usize);
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..w * h + 2 * w.div_ceil(2) * h.div_ceil(2)).map(|_| next()).collect()
}

/// The picture as OpenCV makes it: rows of red, green and blue bytes. `aspect` is the width of its pixels over their height.
fn opencv_rgb(picture: Size, aspect: f64, i420: &[u8], input: Size, top_left: bool) -> Vec<[u8; 3]> {
    let flat = Mat::from_slice(i420).unwrap();
    let yuv = flat.reshape(1, picture.height as i32 * 3 / 2).unwrap();
    let mut rgb = Mat::default();
    imgproc::cvt_color_def(&yuv, &mut rgb, imgproc::COLOR_YUV2RGB_I420).unwrap();
    let (width, height) =
        (f64::from(picture.width) * aspect.max(1.0), f64::from(picture.height) / aspect.min(1.0));
    let scale = (f64::from(input.width) / width).min(f64::from(input.height) / height);
    let fit = |side: f64| {
        let exact = side * scale;
        if top_left { (exact + 1e-6) as i32 } else { exact.round() as i32 }.max(1)
    };
    let (width, height) = (fit(width), fit(height));
    let mut scaled = Mat::default();
    let to = core::Size::new(width, height);
    imgproc::resize(&rgb, &mut scaled, to, 0.0, 0.0, imgproc::INTER_LINEAR).unwrap();
    let (right, below) = (input.width as i32 - width, input.height as i32 - height);
    let (left, top) = if top_left { (0, 0) } else { (right / 2, below / 2) };
    let grey = core::Scalar::all(114.0);
    let mut all = Mat::default();
    core::copy_make_border(
        &scaled,
        &mut all,
        top,
        below - top,
        left,
        right - left,
        core::BORDER_CONSTANT,
        grey,
    )
    .unwrap();
    all.data_typed::<core::Vec3b>().unwrap().iter().map(|pixel| pixel.0).collect()
}

fn ours(preprocessor: &Preprocessor, header: &FrameHeader, i420: &[u8]) -> Vec<[f32; 3]> {
    let mut input = preprocessor.new_input();
    preprocessor.run(header, i420, &mut input).unwrap();
    let planes = input.pixels();
    let plane = planes.len() / 3;
    (0..plane).map(|i| [planes[i], planes[plane + i], planes[2 * plane + i]]).collect()
}

fn even(range: std::ops::Range<u32>) -> impl Strategy<Value = u32> {
    (range.start / 2..range.end / 2).prop_map(|half| 2 * half)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_picture_of_any_size_differs_from_opencv(
        width in even(2..140),
        height in even(2..140),
        input_width in 1u32..130,
        input_height in 1u32..130,
        top_left: bool,
        seed: u64,
    ) {
        let (picture, input) = (size(width, height), size(input_width, input_height));
        let placement = if top_left { Placement::TopLeft } else { Placement::Centre };
        let i420 = noise(picture, seed);
        let ours = ours(&Preprocessor::new(&info(input, placement)), &header(picture, picture, BT601), &i420);
        let theirs = opencv_rgb(picture, 1.0, &i420, input, top_left);
        for (i, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            prop_assert_eq!(ours, &theirs.map(f32::from), "pixel {}", i);
        }
    }

    #[test]
    fn a_squeezed_picture_differs_from_opencv(
        width in even(16..140),
        height in even(16..140),
        input_width in 8u32..130,
        input_height in 8u32..130,
        aspect in prop::sample::select(vec![2.0f32, 0.5, 16.0 / 11.0, 0.4, 1.5]),
        top_left: bool,
        seed: u64,
    ) {
        let (picture, input) = (size(width, height), size(input_width, input_height));
        let placement = if top_left { Placement::TopLeft } else { Placement::Centre };
        let i420 = noise(picture, seed);
        let header = FrameHeader { pixel_aspect: aspect, ..header(picture, picture, BT601) };
        let ours = ours(&Preprocessor::new(&info(input, placement)), &header, &i420);
        let theirs = opencv_rgb(picture, f64::from(aspect), &i420, input, top_left);
        for (i, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            prop_assert_eq!(ours, &theirs.map(f32::from), "pixel {}", i);
        }
    }

    #[test]
    fn an_odd_picture_differs_from_the_even_one_that_it_was_cut_from(half_width in 1u32..40, half_height in 1u32..40, seed: u64) {
        let (whole, odd) = (size(2 * half_width, 2 * half_height), size(2 * half_width - 1, 2 * half_height - 1));
        let i420 = noise(whole, seed);
        let (luma, chroma) = i420.split_at((whole.width * whole.height) as usize);
        let rows = luma.chunks(whole.width as usize).take(odd.height as usize);
        let mut cut: Vec<u8> = rows.flat_map(|row| &row[..odd.width as usize]).copied().collect();
        cut.extend_from_slice(chroma);
        let ours = ours(&Preprocessor::new(&info(odd, Placement::Centre)), &header(odd, odd, BT601), &cut);
        let theirs = opencv_rgb(whole, 1.0, &i420, whole, false);
        let rows = theirs.chunks(whole.width as usize).take(odd.height as usize);
        let theirs = rows.flat_map(|row| &row[..odd.width as usize]);
        for (ours, theirs) in ours.iter().zip(theirs) {
            prop_assert_eq!(ours, &theirs.map(f32::from));
        }
    }
}

#[test]
fn the_matrix_and_range_of_the_header_are_not_used() {
    use ColourMatrix::{Bt601, Bt709, Bt2020};
    use ColourRange::{Full, Limited};
    // A saturated red, as its standard encodes it.
    for (matrix, range, y, u, v) in [
        (Bt601, Limited, 81, 90, 240),
        (Bt601, Full, 76, 85, 255),
        (Bt709, Limited, 63, 102, 240),
        (Bt709, Full, 54, 99, 255),
        (Bt2020, Limited, 74, 97, 240),
        (Bt2020, Full, 67, 92, 255),
    ] {
        let picture = size(2, 2);
        let header = header(picture, picture, Colour { matrix, range });
        let found = ours(&Preprocessor::new(&info(picture, Placement::Centre)), &header, &[y, y, y, y, u, v]);
        for [red, green, blue] in found {
            assert!(
                red >= 252.0 && green <= 3.0 && blue <= 3.0,
                "{matrix:?} {range:?}: {red} {green} {blue}"
            );
        }
    }
}

#[test]
fn colour_order_and_range_of_the_model_are_not_used() {
    let picture = size(2, 2);
    let red = [81, 81, 81, 81, 90, 240];
    let info = ModelInfo {
        colour: ColourOrder::Bgr,
        range: ValueRange::Unit,
        ..info(size(2, 4), Placement::Centre)
    };
    let pixels = ours(&Preprocessor::new(&info), &header(picture, picture, BT601), &red);
    let bytes = |pixel: [f32; 3]| pixel.map(|value| (value * 255.0).round());
    assert_eq!(bytes(pixels[0]), [114.0; 3], "padding");
    assert_eq!(bytes(pixels[2]), [0.0, 0.0, 254.0], "blue, green, red");
    assert!(pixels.iter().flatten().all(|value| (0.0..=1.0).contains(value)));
}

#[test]
fn the_remains_of_a_larger_picture_stay_in_the_input() {
    let preprocessor = Preprocessor::new(&info(size(32, 32), Placement::Centre));
    let (large, flat) = (size(32, 32), size(32, 16));
    let mut again = preprocessor.new_input();
    preprocessor.run(&header(large, large, BT601), &noise(large, 1), &mut again).unwrap();
    preprocessor.run(&header(flat, flat, BT601), &noise(flat, 2), &mut again).unwrap();
    let mut fresh = preprocessor.new_input();
    preprocessor.run(&header(flat, flat, BT601), &noise(flat, 2), &mut fresh).unwrap();
    assert_eq!(again.pixels(), fresh.pixels());
}

#[test]
fn boxes_come_back_to_another_place_of_the_source() {
    // 640x362 was analysed at 320x182, and lies in 320x320 from row 69 on.
    let (source, analysed) = (size(640, 362), size(320, 182));
    let preprocessor = Preprocessor::new(&info(size(320, 320), Placement::Centre));
    let mut input = preprocessor.new_input();
    preprocessor.run(&header(source, analysed, BT601), &noise(analysed, 3), &mut input).unwrap();
    let whole = input.letterbox().to_source([0.0, 69.0, 320.0, 251.0]);
    for (found, wanted) in whole.iter().zip([0.0, 0.0, 640.0, 362.0]) {
        assert!((found - wanted).abs() < 1e-3, "{whole:?}");
    }
}

#[test]
fn boxes_of_a_squeezed_picture_come_back_stretched() {
    // 384x576 with pixels twice as wide as high is analysed at 384x312, and lies in 416x416 as 416x312 from row 52 on.
    let (source, analysed) = (size(384, 576), size(384, 312));
    let preprocessor = Preprocessor::new(&info(size(416, 416), Placement::Centre));
    let mut input = preprocessor.new_input();
    let header = FrameHeader { pixel_aspect: 2.0, ..header(source, analysed, BT601) };
    preprocessor.run(&header, &noise(analysed, 3), &mut input).unwrap();
    let half = input.letterbox().to_source([0.0, 52.0, 208.0, 208.0]);
    for (found, wanted) in half.iter().zip([0.0, 0.0, 192.0, 288.0]) {
        assert!((found - wanted).abs() < 1e-3, "{half:?}");
    }
}

#[test]
fn a_frame_of_other_bytes_than_announced_is_taken() {
    let picture = size(8, 8);
    let preprocessor = Preprocessor::new(&info(size(8, 8), Placement::Centre));
    let mut input = preprocessor.new_input();
    let header = header(picture, picture, BT601);
    for found in [0, 95, 97] {
        let refused = preprocessor.run(&header, &vec![0; found], &mut input);
        assert_eq!(refused, Err(PreprocessError::Length { found, wanted: 96 }));
    }
    let end = FrameHeader { end: true, ..header };
    assert_eq!(preprocessor.run(&end, &[], &mut input), Err(PreprocessError::NoPicture));
}
