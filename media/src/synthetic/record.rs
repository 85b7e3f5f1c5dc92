//! A scene as a video file with its truth beside it.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use ffmpeg_next::{Dictionary, Packet, Rational, codec, color, encoder, format, format::Pixel, frame};
use serde::Serialize;

use super::{Scene, SceneConfig};

/// A scene could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// FFmpeg has neither H.264 nor MPEG-4 to write with.
    #[error("the installed FFmpeg can write neither H.264 nor MPEG-4")]
    NoEncoder,
    /// FFmpeg failed.
    #[error("FFmpeg cannot write the video: {0}")]
    Video(#[from] ffmpeg_next::Error),
    /// The truth could not be written.
    #[error("cannot write the truth: {0}")]
    Truth(#[from] std::io::Error),
    /// An endless scene.
    #[error("say how many frames to write")]
    Endless,
}

/// First line of the truth file.
#[derive(Serialize)]
struct Head<'a> {
    scene: &'a SceneConfig,
    calibration: peregrine_proto::CalibrationConfig,
}

/// Writes the scene as a video (H.264 in nearly visually lossless quality, MPEG-4 where there is no H.264 encoder; the
/// container by the file's ending) and, as JSON Lines, its truth: first the scene with its calibration, then one
/// [`Truth`](super::Truth) a frame.
///
/// # Errors
/// See [`RecordError`].
pub fn record(scene: &Scene, video: &Path, truth: Option<&Path>) -> Result<(), RecordError> {
    let config = scene.config();
    if config.frames == 0 {
        return Err(RecordError::Endless);
    }
    let mut truth = truth.map(File::create).transpose()?.map(BufWriter::new);
    write_line(&mut truth, &Head { scene: config, calibration: scene.calibration() })?;
    let mut writer = Writer::open(video, config)?;
    for index in 0..config.frames {
        writer.write(index, scene)?;
        write_line(&mut truth, &scene.truth(index))?;
    }
    writer.finish()?;
    if let Some(file) = &mut truth {
        file.flush()?;
    }
    Ok(())
}

fn write_line(file: &mut Option<BufWriter<File>>, value: &impl Serialize) -> std::io::Result<()> {
    let Some(file) = file else { return Ok(()) };
    serde_json::to_writer(&mut *file, value)?;
    file.write_all(b"\n")
}

struct Writer {
    output: format::context::Output,
    encoder: encoder::Video,
    frame: frame::Video,
    time_base: Rational,
}

impl Writer {
    fn open(path: &Path, config: &SceneConfig) -> Result<Self, RecordError> {
        ffmpeg_next::init()?;
        // The muxer takes the path as text.
        let name = path.to_str().ok_or(std::io::Error::other("the video's name is not UTF-8"))?;
        let mut output = format::output(name)?;
        let codec = encoder::find_by_name("libx264")
            .or_else(|| encoder::find(codec::Id::MPEG4))
            .ok_or(RecordError::NoEncoder)?;
        let rate = Rational::from(config.fps).reduce();
        let time_base = Rational(rate.denominator(), rate.numerator());
        let mut context = codec::Context::new_with_codec(codec).encoder().video()?;
        context.set_width(config.size.width);
        context.set_height(config.size.height);
        context.set_format(Pixel::YUV420P);
        context.set_time_base(time_base);
        context.set_frame_rate(Some(rate));
        context.set_colorspace(color::Space::SMPTE170M);
        context.set_color_range(color::Range::MPEG);
        if output.format().flags().contains(format::Flags::GLOBAL_HEADER) {
            context.set_flags(codec::Flags::GLOBAL_HEADER);
        }
        let mut options = Dictionary::new();
        options.set("crf", "14");
        options.set("preset", "veryfast");
        options.set("qscale", "2");
        let encoder = context.open_as_with(codec, options)?;
        let mut stream = output.add_stream(codec)?;
        stream.set_parameters(&encoder);
        stream.set_time_base(time_base);
        stream.set_rate(rate);
        stream.set_avg_frame_rate(rate);
        output.write_header()?;
        let mut frame = frame::Video::new(Pixel::YUV420P, config.size.width, config.size.height);
        frame.set_color_space(color::Space::SMPTE170M);
        frame.set_color_range(color::Range::MPEG);
        Ok(Self { output, encoder, frame, time_base })
    }

    fn write(&mut self, index: u64, scene: &Scene) -> Result<(), RecordError> {
        let picture = scene.render(index);
        for (i, plane) in picture.planes().into_iter().enumerate() {
            let stride = self.frame.stride(i);
            for (y, row) in self.frame.data_mut(i).chunks_mut(stride).take(plane.height).enumerate() {
                row[..plane.width].copy_from_slice(plane.row(y));
            }
        }
        self.frame.set_pts(Some(index.try_into().unwrap_or(i64::MAX)));
        self.encoder.send_frame(&self.frame)?;
        self.drain()
    }

    fn finish(&mut self) -> Result<(), RecordError> {
        self.encoder.send_eof()?;
        self.drain()?;
        self.output.write_trailer()?;
        Ok(())
    }

    fn drain(&mut self) -> Result<(), RecordError> {
        let mut packet = Packet::empty();
        while self.encoder.receive_packet(&mut packet).is_ok() {
            let base = self.output.stream(0).map_or(self.time_base, |stream| stream.time_base());
            packet.set_stream(0);
            packet.rescale_ts(self.time_base, base);
            packet.write_interleaved(&mut self.output)?;
        }
        Ok(())
    }
}
