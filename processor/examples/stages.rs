//! What the detector's stages cost: `cargo run --release -p peregrine-processor --example stages -- MODEL [WIDTH HEIGHT [RUNS]]`.
//! Prints the median time of each stage on noise of the given analysed size, 416x312 where none is given.

use std::time::{Duration, Instant};

use anyhow::Context;
use peregrine_processor::model::{Detector, ModelConfig, Wanted};
use peregrine_proto::{FrameHeader, Size};

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let path = args.first().context("usage: stages MODEL [WIDTH HEIGHT [RUNS]]")?.into();
    let number = |i: usize, default: u32| args.get(i).map_or(Ok(default), |text| text.parse());
    let analysed = Size { width: number(1, 416)?, height: number(2, 312)? };
    let runs = number(3, 50)?;

    let mut detector = Detector::open(&ModelConfig { path, ..ModelConfig::default() })?;
    let header = header(analysed);
    let i420: Vec<u8> =
        (0..header.data_len() as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let wanted = Wanted { confidence: 0.1, nms_iou: 0.5, classes: None, source: analysed };
    let mut input = detector.preprocessor.new_input();
    let mut times: [Vec<Duration>; 3] = Default::default();
    for _ in 0..runs {
        let start = Instant::now();
        detector.preprocessor.run(&header, &i420, &mut input)?;
        times[0].push(start.elapsed());
        let start = Instant::now();
        let output = detector.session.run(&input)?;
        times[1].push(start.elapsed());
        let start = Instant::now();
        detector.postprocessor.run(&output, &wanted)?;
        times[2].push(start.elapsed());
    }
    for (stage, mut times) in ["preprocess", "infer", "postprocess"].into_iter().zip(times) {
        times.sort();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        eprintln!("{stage:<12} {:>9.3} ms", median.as_secs_f64() * 1000.0);
    }
    Ok(())
}

fn header(analysed: Size) -> FrameHeader {
    FrameHeader { lossless: true, ..FrameHeader::of_picture(analysed, analysed) }
}
