//! The picture that people see is the frame that the result is about.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use peregrine_e2e::system::*;
use peregrine_media::{AllowList, OpenOptions, synthetic::read_frame_number};
use peregrine_proto::{CameraId, FrameId};
use peregrine_streams::PreviewReader;

/// The frame number that a picture of the synthetic scene carries.
fn number_in(jpeg: &[u8], folder: &Path) -> Result<u64> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("0.jpg"), jpeg)?;
    let source = camera("picture", &format!("images:{}", folder.display()), "")?.source;
    let mut source = peregrine_media::open(&source, &AllowList::anything(), &OpenOptions::default())?;
    let captured = source.next()?.context("no picture")?;
    Ok(read_frame_number(&captured.picture).context("no number in the picture")?.into())
}

#[test]
fn preview_shows_another_frame_than_its_id_says() -> Result<()> {
    let folder = folder("preview")?;
    let scene = camera("scene", "synthetic:road?w=768&h=432&fps=10", "")?;
    let stack = stack(&folder, vec![scene])?.start()?;
    let id = CameraId::new("scene")?;
    let previews = block_on(async {
        let redis = redis(&stack).await?;
        redis.watch(&id, 640, Duration::from_secs(120)).await?;
        let mut reader = PreviewReader::new(&redis);
        reader.follow(&id, FrameId::ZERO);
        let mut previews = Vec::new();
        for _ in 0..240 {
            previews.extend(reader.read(Duration::from_millis(500)).await?);
            if previews.len() >= 10 {
                break;
            }
        }
        Ok(previews)
    })?;
    assert!(previews.len() >= 10, "{} pictures", previews.len());
    let last = previews.last().unwrap().id;
    let mut positions = BTreeMap::new();
    while positions.last_key_value().is_none_or(|(id, _)| *id < last) {
        let enough = positions.len() + 5;
        positions = results(&stack, "scene", enough, Duration::from_secs(120))?
            .into_iter()
            .map(|(id, result)| (id, result.position))
            .collect();
    }
    for preview in previews {
        assert_eq!((preview.size.width, preview.size.height), (640, 360));
        let number = number_in(&preview.jpeg, &folder.join(preview.id.to_string()))?;
        assert_eq!(positions.get(&preview.id), Some(&number), "preview {}", preview.id);
    }
    Ok(())
}
