//! Any bytes, into every decoder that sees bytes of strangers: none may panic, hang, keep memory or take much of it, and
//! each refusal is a sentence of bounded length.
//!
//! Inputs are [made](make) after the declarations of the wire types or after samples, then [damaged](damage). Each is
//! determined by the seed, its decoder and its number, so that it can be made again alone.

mod damage;
mod decoders;
mod make;

use std::{
    fmt, fs,
    os::unix::fs::FileExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use peak_alloc::PeakAlloc;
use peregrine_stack::Memory;
use rand::{SeedableRng, rngs::StdRng};

use self::decoders::{Decoder, decoders};

/// What a decoder may take for an input beside a multiple of its length, bytes: serde believes what a list says of its
/// length up to 1 MiB of values, and lists lie in lists.
const ALLOWED: usize = 4 << 20;
/// What a decoder may take for each byte of its input: an object of a step takes hundreds where `{}` says that there is one.
const ALLOWED_PER_BYTE: usize = 400;
/// What may be kept after all inputs of a decoder, bytes: what is made once, such as tables.
const KEPT: usize = 256 * 1024;
/// A longer refusal is no sentence, bytes.
const LONGEST_REFUSAL: usize = 1000;
/// An input that takes longer hangs its connection.
const LONGEST: Duration = Duration::from_secs(5);
/// Growth of the process that libraries in C may cause: their allocations are not counted one by one. Bytes.
const GROWTH: u64 = 64 << 20;
/// After so many broken promises of a decoder the next one has its turn.
const ENOUGH: usize = 5;

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Decides all inputs.
    pub seed: u64,
    /// How many, over all decoders.
    pub inputs: u64,
    /// Only this decoder, and of it only this input.
    pub only: Option<(String, Option<u64>)>,
    /// Where it is noted which input is being read: should the process die of one, it stands there.
    pub note: PathBuf,
}

/// What came of a decoder's inputs.
#[derive(Debug, Default)]
pub struct Tally {
    /// The decoder.
    pub name: &'static str,
    /// Inputs that were taken.
    pub accepted: u64,
    /// Inputs that were refused.
    pub refused: u64,
    /// Bytes of all inputs.
    pub bytes: u64,
    /// Most bytes that one input took at once.
    pub most_taken: usize,
    /// Bytes that are still allocated after all inputs, beyond those after the first tenth of them.
    pub kept: isize,
    /// The slowest input.
    pub slowest: Duration,
    /// All inputs.
    pub took: Duration,
    /// Why the last input that was not taken was refused.
    pub last_refusal: String,
    /// Which input broke which promise.
    pub broken: Vec<String>,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// One for each decoder.
    pub tallies: Vec<Tally>,
    /// Resident memory after the first tenth of each decoder's inputs, the largest; bytes.
    pub resident_warm: u64,
    /// Resident memory in the end, bytes.
    pub resident_end: u64,
    /// Promises that the run as a whole broke.
    pub broken: Vec<String>,
}

/// Runs a plan. The `allocator` is the process' own: nothing else may be running in it.
///
/// # Errors
/// When there is no such decoder, or the note cannot be written.
pub fn run(plan: &Plan, allocator: PeakAlloc, say: &mut dyn FnMut(&str)) -> Result<Outcome> {
    let all = decoders();
    let weights: u64 = all.iter().map(|decoder| decoder.weight).sum();
    let note = fs::File::create(&plan.note).with_context(|| plan.note.display().to_string())?;
    let mut outcome = Outcome { tallies: Vec::new(), resident_warm: 0, resident_end: 0, broken: Vec::new() };
    for (index, decoder) in all.iter().enumerate() {
        let share = (plan.inputs * decoder.weight).div_ceil(weights);
        let numbers = match &plan.only {
            Some((name, _)) if name != decoder.name => continue,
            Some((_, Some(number))) => *number..number + 1,
            _ => 0..share,
        };
        let run = Run { plan, decoder, index: index as u64, note: &note, allocator };
        let (tally, warm) = run.all(numbers)?;
        say(&tally.to_string());
        if plan.only.is_some() && tally.refused > 0 {
            say(&format!("the last refusal: {}", tally.last_refusal));
        }
        outcome.resident_warm = outcome.resident_warm.max(warm);
        outcome.tallies.push(tally);
    }
    ensure!(!outcome.tallies.is_empty(), "there is no decoder of this name: {}", names(&all));
    outcome.resident_end = Memory::of(process::id())?.resident;
    let growth = outcome.resident_end.saturating_sub(outcome.resident_warm);
    if growth > GROWTH {
        outcome.broken.push(format!("the process grew by {} MiB", growth >> 20));
    }
    let tallies = outcome.tallies.iter();
    outcome.broken.extend(tallies.flat_map(|tally| tally.broken.iter().cloned()));
    Ok(outcome)
}

fn names(all: &[Decoder]) -> String {
    all.iter().map(|decoder| format!("`{}`", decoder.name)).collect::<Vec<_>>().join(", ")
}

/// One decoder's turn.
struct Run<'a> {
    plan: &'a Plan,
    decoder: &'a Decoder,
    index: u64,
    note: &'a fs::File,
    allocator: PeakAlloc,
}

impl Run<'_> {
    /// Also says how large the process was after the first tenth.
    fn all(&self, numbers: std::ops::Range<u64>) -> Result<(Tally, u64)> {
        let mut tally = Tally { name: self.decoder.name, ..Tally::default() };
        let warm_at = numbers.start + (numbers.end - numbers.start) / 10;
        let (mut warm, mut resident_warm) = (0, 0);
        let began = Instant::now();
        for number in numbers {
            self.one(number, &mut tally)?;
            if number == warm_at {
                (warm, resident_warm) = (self.allocator.current_usage(), Memory::of(process::id())?.resident);
            }
            if tally.broken.len() >= ENOUGH {
                break;
            }
        }
        tally.took = began.elapsed();
        tally.kept = self.allocator.current_usage().cast_signed() - warm.cast_signed();
        if tally.kept > KEPT.cast_signed() {
            tally.broken.push(format!("{}: {} bytes are kept in the end", self.decoder.name, tally.kept));
        }
        Ok((tally, resident_warm))
    }

    fn one(&self, number: u64, tally: &mut Tally) -> Result<()> {
        let place = format!("{}:{number}", self.decoder.name);
        self.note.write_all_at(format!("{place:<79}\n").as_bytes(), 0)?;
        let input = self.input(number);
        tally.bytes += input.len() as u64;
        let before = self.allocator.current_usage();
        self.allocator.reset_peak_usage();
        let began = Instant::now();
        let read = catch_unwind(AssertUnwindSafe(|| (self.decoder.read)(&input)));
        let (took, taken) = (began.elapsed(), self.allocator.peak_usage() - before);
        tally.most_taken = tally.most_taken.max(taken);
        tally.slowest = tally.slowest.max(took);
        let wrong = match read {
            Err(_) => Some("panicked".to_owned()),
            Ok(Err(why)) if why.trim().is_empty() => Some("was refused without a word".to_owned()),
            Ok(Err(why)) if why.len() > LONGEST_REFUSAL => {
                Some(format!("was refused in {} bytes: {why:.100}…", why.len()))
            }
            Ok(_) if taken > ALLOWED + ALLOWED_PER_BYTE * input.len() => {
                Some(format!("took {taken} bytes of memory for {}", input.len()))
            }
            Ok(_) if took > LONGEST => Some(format!("took {} ms", took.as_millis())),
            Ok(Ok(())) => {
                tally.accepted += 1;
                None
            }
            Ok(Err(why)) => {
                tally.refused += 1;
                tally.last_refusal = why;
                None
            }
        };
        if let Some(wrong) = wrong {
            let (seed, shown) = (self.plan.seed, input.escape_ascii().to_string());
            tally.broken.push(format!(
                "an input {wrong}; again with --seed {seed} --only '{place}'; it begins {shown:.200}"
            ));
        }
        Ok(())
    }

    /// The input of this number.
    fn input(&self, number: u64) -> Vec<u8> {
        let seed = self.plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (self.index << 56) ^ number;
        let mut random = StdRng::seed_from_u64(seed);
        let input = (self.decoder.make)(&mut random);
        damage::damage(&mut random, input, self.decoder.make)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inputs = self.accepted + self.refused;
        write!(
            f,
            "{:<26} {inputs:>9} inputs, {:>8} taken, {:>9} refused; {:>6.0} bytes, {:>8.2} µs each; at most {:>6} KiB, {:>7.1} ms; {:>6} bytes kept",
            self.name,
            self.accepted,
            self.refused,
            self.bytes as f64 / inputs.max(1) as f64,
            self.took.as_secs_f64() * 1e6 / inputs.max(1) as f64,
            self.most_taken / 1024,
            self.slowest.as_secs_f64() * 1e3,
            self.kept
        )
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inputs: u64 = self.tallies.iter().map(|tally| tally.accepted + tally.refused).sum();
        let accepted: u64 = self.tallies.iter().map(|tally| tally.accepted).sum();
        writeln!(
            f,
            "{inputs} inputs over {} decoders: {accepted} taken, {} refused; resident {:.1} MiB when warm, {:.1} MiB in the end",
            self.tallies.len(),
            inputs - accepted,
            self.resident_warm as f64 / f64::from(1 << 20),
            self.resident_end as f64 / f64::from(1 << 20)
        )?;
        for broken in &self.broken {
            writeln!(f, "promise broken: {broken}")?;
        }
        Ok(())
    }
}
