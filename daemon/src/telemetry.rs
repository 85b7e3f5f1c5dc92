use std::io::{self, Write};

use tracing_subscriber::{EnvFilter, fmt};

use peregrine_proto::mask;

use crate::{LogFormat, LogSection};

/// Installs logging to standard error. Every line passes [`mask`] on its way out, as a last line of defence.
///
/// Messages are lower-case and say what happened; values are fields. `level` may be one of `trace` … `error`, or
/// directives such as `info,peregrine_streams=debug`. Called twice (as tests do), the first stands.
pub fn init(section: &LogSection) {
    let filter = EnvFilter::try_new(&section.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt().with_env_filter(filter).with_writer(Masked::default);
    let installed = match section.format {
        LogFormat::Human => builder.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
    drop(installed);
}

/// Whether a text is a usable log level.
pub(crate) fn is_level(text: &str) -> bool {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    !text.is_empty()
        && text.split(',').all(|directive| {
            let level = directive.rsplit('=').next().unwrap_or_default();
            LEVELS.contains(&level.trim().to_ascii_lowercase().as_str())
        })
        && EnvFilter::try_new(text).is_ok()
}

/// For people, before logging stands. Nobody is left to tell when standard error is closed.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{}", mask(text));
}

/// To standard output.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Collects one event and writes it at once, masked.
#[derive(Default)]
struct Masked(Vec<u8>);

impl Write for Masked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Masked {
    fn drop(&mut self) {
        let _ = io::stderr().write_all(mask(&String::from_utf8_lossy(&self.0)).as_bytes());
    }
}
