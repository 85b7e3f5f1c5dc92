//! The floor: what the work costs with nothing around it. Decoding alone, by the ffmpeg command on one thread,
//! and the bare model on one prepared tensor, each as CPU milliseconds per frame.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};
use ort::{session::Session, value::Tensor};

use crate::cpu;

/// CPU milliseconds per frame of the parts that no pipeline can do without.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Floor {
    /// Decoding to I420, one thread.
    pub(crate) decode_ms: f64,
    /// The model alone.
    pub(crate) infer_ms: f64,
}

impl Floor {
    /// Both together.
    pub(crate) fn total_ms(self) -> f64 {
        self.decode_ms + self.infer_ms
    }
}

/// The model with nothing around it. Loaded once: a process has one ONNX Runtime.
pub(crate) struct BareModel {
    session: Session,
    input: String,
    tensor: Tensor<f32>,
}

/// Measures both on this machine, now.
pub(crate) fn measure(clip: &Path, model: &mut BareModel, runs: usize) -> anyhow::Result<Floor> {
    Ok(Floor { decode_ms: decode(clip)?, infer_ms: model.infer(runs)? })
}

fn decode(clip: &Path) -> anyhow::Result<f64> {
    let before = cpu::of_children()?;
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-threads", "1", "-i"])
        .arg(clip)
        .args(["-pix_fmt", "yuv420p", "-f", "null", "-", "-progress", "-", "-nostats"])
        .stderr(Stdio::inherit())
        .output()
        .context("ffmpeg cannot be started: ./dev bench installs it")?;
    ensure!(output.status.success(), "ffmpeg could not decode {}", clip.display());
    let spent = cpu::of_children()? - before;
    let progress = String::from_utf8_lossy(&output.stdout);
    let frames: Option<f64> =
        progress.lines().filter_map(|l| l.strip_prefix("frame=")?.trim().parse().ok()).next_back();
    match frames {
        Some(frames) if frames > 0.0 => Ok(spent.as_secs_f64() * 1e3 / frames),
        _ => bail!("ffmpeg decoded no frame of {}", clip.display()),
    }
}

impl BareModel {
    pub(crate) fn open(model: &Path, threads: usize) -> anyhow::Result<Self> {
        let wrong =
            |e: ort::Error<ort::session::builder::SessionBuilder>| anyhow::anyhow!("ONNX Runtime: {e}");
        let environment = ort::init().with_name("floor").build()?;
        let session = Session::builder(&environment)?
            .with_intra_threads(threads)
            .map_err(wrong)?
            .with_inter_threads(1)
            .map_err(wrong)?
            .with_intra_op_spinning(false)
            .map_err(wrong)?
            .commit_from_file(model)?;
        let input = session.inputs().first().context("the model has no input")?;
        let shape: Vec<usize> = input
            .dtype()
            .tensor_shape()
            .context("the model's input is no tensor")?
            .iter()
            .map(|d| usize::try_from(*d).unwrap_or(1))
            .collect();
        let input = input.name().to_owned();
        // Noise, as a picture would be: denormals or zeros would flatter the model.
        let mut seed = 1u32;
        let noise = (0..shape.iter().product::<usize>()).map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / (1 << 24) as f32
        });
        let tensor = Tensor::from_array((shape.clone(), noise.collect::<Vec<f32>>()))?;
        Ok(Self { session, input, tensor })
    }

    fn infer(&mut self, runs: usize) -> anyhow::Result<f64> {
        for _ in 0..10 {
            self.session.run(ort::inputs![self.input.as_str() => &self.tensor])?;
        }
        let before = cpu::of_process(std::process::id())?;
        for _ in 0..runs {
            self.session.run(ort::inputs![self.input.as_str() => &self.tensor])?;
        }
        Ok((cpu::of_process(std::process::id())? - before).as_secs_f64() * 1e3 / runs as f64)
    }
}
