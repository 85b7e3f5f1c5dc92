//! Reads a source and says what came of it: sizes, times, and what each step costs. Also dumps the small pictures, for
//! comparing filters: `media_probe <source> [<width>x<height> [<dump.yuv>]]`.

use std::{fs::File, io::Write, time::Instant};

use anyhow::Context;
use peregrine_media::{AllowList, Jpeg, OpenOptions, Resizer, open};
use peregrine_proto::{Size, SourceConfig};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let uri = arguments.next().context("usage: media_probe <source> [<width>x<height> [<dump.yuv>]]")?;
    let to = arguments.next().unwrap_or_else(|| "416x234".into());
    let (width, height) = to.split_once('x').context("a size is like 416x234")?;
    let to = Size { width: width.parse()?, height: height.parse()? };
    let mut dump = arguments.next().map(File::create).transpose()?;
    let config: SourceConfig = source_config(&uri);
    let mut source = open(&config, &AllowList::anything(), &OpenOptions::default())?;
    let mut report = std::io::stderr();
    writeln!(report, "{:?}", source.info())?;
    let (mut resizer, mut jpeg, mut small) = (Resizer::new(), Jpeg::new()?, Vec::new());
    let (mut resize_ms, mut jpeg_ms, mut decode_ms) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = None;
    loop {
        let captured = match source.next() {
            Ok(Some(captured)) => captured,
            Ok(None) => break,
            Err(error) => {
                writeln!(report, "{error}")?;
                break;
            }
        };
        decode_ms.push((captured.capture + captured.decode).as_secs_f64() * 1e3);
        let started = Instant::now();
        resizer.resize(&captured.picture, to, &mut small)?;
        resize_ms.push(started.elapsed().as_secs_f64() * 1e3);
        if captured.position.is_multiple_of(16) {
            let started = Instant::now();
            jpeg.encode(&captured.picture, 960, 80)?;
            jpeg_ms.push(started.elapsed().as_secs_f64() * 1e3);
        }
        if let Some(dump) = &mut dump {
            dump.write_all(&small)?;
        }
        last = Some((captured.position, captured.media_time_us, captured.picture.size()));
    }
    writeln!(report, "last frame {last:?}, {:?}", source.counts())?;
    for (name, mut times) in [("decode", decode_ms), ("resize", resize_ms), ("jpeg", jpeg_ms)] {
        times.sort_by(f64::total_cmp);
        if let (Some(median), Some(worst)) = (times.get(times.len() / 2), times.last()) {
            writeln!(report, "{name}: median {median:.3} ms, most {worst:.3} ms")?;
        }
    }
    Ok(())
}

fn source_config(uri: &str) -> SourceConfig {
    SourceConfig { pace: peregrine_proto::Pace::Fast, ..SourceConfig::new(uri) }
}
