//! Pictures of other sizes, shapes and pixels, through the whole of `processor analyze`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{fs, path::PathBuf};

use anyhow::Result;
use peregrine_e2e::{clips, onnx::Model, programs, results::*, system::*};
use peregrine_proto::{FrameResult, Notice, Size};

/// The watcher's box is 0.2 wide and 0.5 high in a model input of 64x64, wherever it stands.
const BOX: [f32; 2] = [0.2 * 64.0, 0.5 * 64.0];

fn size(width: u32, height: u32) -> Size {
    Size { width, height }
}

fn box_size(result: &FrameResult) -> [f32; 2] {
    let [left, top, right, bottom] = result.detections[0].xyxy;
    [right - left, bottom - top]
}

/// A detector that takes 64x64.
fn model(folder: &std::path::Path) -> Result<PathBuf> {
    let path = folder.join("watcher.onnx");
    Model::watcher(64, 64).write(&path)?;
    Ok(path)
}

#[test]
fn squeezed_picture_reaches_the_detector_squeezed() -> Result<()> {
    let folder = folder("squeezed")?;
    let model = model(&folder)?;
    let clip = clips::test_picture(&folder, "half-wide.mp4", "320x480", 3)?;
    let out = folder.join("out.jsonl");
    let run = |more: &[&str]| -> Result<[f32; 2]> {
        programs::analyze(&clip, &model, &out, more)?.map_err(anyhow::Error::msg)?;
        let results = of_file(&out)?;
        assert_eq!(results[0].source, size(320, 480));
        Ok(box_size(&results[0]))
    };
    // 640x480 as people see it lies in the model's input as 64x48: 5 source pixels a model pixel along x, 10 along y.
    let near =
        |[w, h]: [f32; 2], [x, y]: [f32; 2]| (w - BOX[0] * x).abs() < 0.5 && (h - BOX[1] * y).abs() < 0.5;
    let told = run(&["--set", "source.pixel_aspect=2.0"])?;
    assert!(near(told, [5.0, 10.0]), "{told:?}");
    // Nobody says it: 320x480 as 42x64, an even number of columns.
    let silent = run(&[])?;
    assert!(near(silent, [320.0 / 42.0, 7.5]), "{silent:?}");
    Ok(())
}

#[test]
fn another_picture_size_changes_what_was_drawn_or_loses_tracks() -> Result<()> {
    let folder = folder("sizes")?;
    let model = model(&folder)?;
    let pictures = folder.join("pictures");
    fs::create_dir_all(&pictures)?;
    // The same scene at its size, at twice of it, and in another shape.
    for (name, size) in [("a", "320x240"), ("b", "640x480"), ("c", "320x180"), ("d", "320x240")] {
        let images = clips::as_images(&clips::test_picture(&folder, &format!("{name}.mp4"), size, 8)?)?;
        for image in fs::read_dir(images)? {
            let image = image?;
            let name = format!("{name}-{}", image.file_name().to_string_lossy());
            fs::copy(image.path(), pictures.join(name))?;
        }
    }
    let camera = folder.join("camera.toml");
    fs::write(
        &camera,
        format!(
            "id = \"road\"\n[source]\nuri = \"images:{}\"\n[analysis]\nregion = [[0, 0], [320, 0], [320, 240], [0, 240]]\n\
             region_drawn_on = {{ width = 320, height = 240 }}\n[calibration]\n\
             world_from_image = [[0.05, 0, -8], [0, 0.05, -6], [0, 0, 1]]\ndrawn_on = {{ width = 320, height = 240 }}\n",
            pictures.display()
        ),
    )?;
    let out = folder.join("out.jsonl");
    let arguments = ["--camera", camera.to_str().unwrap()];
    let video = format!("images:{}", pictures.display());
    programs::analyze(video.as_ref(), &model, &out, &arguments)?.map_err(anyhow::Error::msg)?;
    let results = of_file(&out)?;
    assert_eq!(results.len(), 32);
    let (a, b, c, d) = (&results[7], &results[15], &results[23], &results[31]);
    assert_eq!(
        [a, b, c, d].map(|r| r.source),
        [size(320, 240), size(640, 480), size(320, 180), size(320, 240)]
    );
    assert_eq!([a, b, c, d].map(|r| r.track_epoch), [0, 0, 1, 2]);
    assert_eq!(a.tracks[0].track_id, b.tracks[0].track_id);
    // The box stands at the same place of the picture, so at the same place of the ground.
    let (at, later) = (a.tracks[0].ground_m.unwrap(), b.tracks[0].ground_m.unwrap());
    assert!((at[0] - later[0]).hypot(at[1] - later[1]) < 0.5, "{at:?} {later:?}");
    assert!(
        c.tracks.iter().all(|track| track.ground_m.is_none() && track.speed.is_none() && track.in_region)
    );
    assert_eq!(c.notices, [Notice::RegionOff, Notice::CalibrationOff]);
    assert!(d.tracks[0].ground_m.is_some() && d.notices.is_empty());
    Ok(())
}
