//! Where this process spends its CPU time: samples of its stacks over some seconds, drawn as a flame graph.

use std::{collections::BTreeMap, fmt::Write, thread, time::Duration};

/// Samples a second of CPU time: not a divisor of what other things happen at.
const HERTZ: i32 = 199;
/// The most that may be asked for.
pub(crate) const LONGEST: Duration = Duration::from_secs(120);
/// A walk up the stack that begins in these may find their locks held, and is left out.
const NO_STACKS_FROM: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

const WIDTH: f64 = 1200.0;
const ROW: f64 = 17.0;
/// What is narrower cannot be seen.
const NARROWEST: f64 = 0.3;
/// Of one character of the text.
const CHARACTER: f64 = 6.6;

/// Samples the process for so long, which this call takes, and draws what was found.
///
/// # Errors
/// A sentence: somebody else samples it now, or the system does not let it be sampled.
pub(crate) fn flame_graph(over: Duration, title: &str) -> Result<String, String> {
    let guard = pprof::ProfilerGuardBuilder::default()
        .frequency(HERTZ)
        .blocklist(&NO_STACKS_FROM)
        .build()
        .map_err(|error| format!("no profile now: {error}: is another one being made?"))?;
    thread::sleep(over);
    let report = guard.report().build().map_err(|error| format!("no profile: {error}"))?;
    drop(guard);
    let mut root = Node::default();
    for (stack, samples) in &report.data {
        let samples = u64::try_from(*samples).unwrap_or(0);
        let functions =
            stack.frames.iter().rev().flat_map(|frame| frame.iter().rev()).map(pprof::Symbol::name);
        root.add([stack.thread_name_or_id()].into_iter().chain(functions), samples);
    }
    let seconds = over.as_secs_f64();
    Ok(root.draw(&format!(
        "{title}: {} samples of {HERTZ} a second of CPU time, over {seconds:.0} s",
        root.samples
    )))
}

/// A function with what it called.
#[derive(Default)]
struct Node {
    samples: u64,
    called: BTreeMap<String, Node>,
}

impl Node {
    /// Counts samples of a stack, the outermost function first.
    fn add(&mut self, stack: impl Iterator<Item = String>, samples: u64) {
        let mut node = self;
        node.samples += samples;
        for function in stack {
            node = node.called.entry(function).or_default();
            node.samples += samples;
        }
    }

    fn depth(&self) -> usize {
        1 + self.called.values().map(Node::depth).max().unwrap_or(0)
    }

    fn draw(&self, title: &str) -> String {
        let height = (self.depth() as f64 + 2.0) * ROW;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"monospace\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"4\" y=\"{ROW}\" font-size=\"13\">{}</text>\n",
            escaped(title)
        );
        let per_sample = WIDTH / self.samples.max(1) as f64;
        self.draw_row("all", 0.0, height - ROW, per_sample, self.samples, &mut svg);
        svg + "</svg>\n"
    }

    /// The function as a box as wide as its share, what it called above it.
    fn draw_row(&self, name: &str, x: f64, y: f64, per_sample: f64, all: u64, svg: &mut String) {
        let width = self.samples as f64 * per_sample;
        if width < NARROWEST {
            return;
        }
        let percent = self.samples as f64 * 100.0 / all.max(1) as f64;
        let shown: String = name.chars().take((width / CHARACTER) as usize).collect();
        // One colour a function, wherever it is called.
        let hue =
            name.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())) % 40 + 10;
        let _ = writeln!(
            svg,
            "<g><title>{} ({} samples, {percent:.1}%)</title><rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{}\" \
             fill=\"hsl({hue},85%,65%)\" stroke=\"#fff\" stroke-width=\"0.5\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
            escaped(name),
            self.samples,
            y,
            ROW - 1.0,
            x + 2.0,
            y + ROW - 5.0,
            if shown.len() > 2 { escaped(&shown) } else { String::new() },
        );
        let mut x = x;
        for (name, node) in &self.called {
            node.draw_row(name, x, y - ROW, per_sample, all, svg);
            x += node.samples as f64 * per_sample;
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn box_is_not_as_wide_as_its_share_or_not_above_its_caller() {
        let mut root = Node::default();
        let stack = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>().into_iter();
        root.add(stack("infer run Vec<T>::push"), 3);
        root.add(stack("infer run"), 1);
        root.add(stack("admin answer"), 4);
        assert_eq!((root.samples, root.depth()), (8, 4));
        let svg = root.draw("a & b");
        assert!(svg.contains("a &amp; b") && svg.contains("Vec&lt;T&gt;::push (3 samples, 37.5%)"), "{svg}");
        let rect = |name: &str| {
            let (_, rest) = svg.split_once(&format!("<title>{name} (")).unwrap();
            let number = |attribute: &str| {
                let (_, rest) = rest.split_once(&format!(" {attribute}=\"")).unwrap();
                rest.split('"').next().unwrap().parse::<f64>().unwrap()
            };
            (number("x"), number("y"), number("width"))
        };
        let (infer, run) = (rect("infer"), rect("run"));
        assert_eq!((infer.0, infer.2), (600.0, 600.0), "after `admin`, half of all");
        assert_eq!((run.0, run.1, run.2), (600.0, infer.1 - ROW, 600.0));
        assert_eq!(rect("admin").2, 600.0);
    }
}
