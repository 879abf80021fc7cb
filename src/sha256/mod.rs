//! SHA-256 (FIPS 180-4) of many streams at once: compresses blocks of up to sixteen streams by the fastest means that this
//! processor has for that many. Bytes in, states out; opens no file.
//!
//! One stream is a chain of dependent instructions: a core waits most of the time. Several streams fill the gaps (SHA-NI), or
//! lie in the lanes of wide registers (AVX-512, AVX2). Which of them is fastest for how many differs among processors, and
//! is measured (`Engine::tuned`).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod constants;
#[cfg(target_arch = "x86_64")]
mod sha_ni;

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use constants::INITIAL;

/// Bytes of a block.
pub const BLOCK: usize = 64;

/// The most streams that are compressed together.
pub const LANES: usize = 16;

/// A hash between two blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State([u32; 8]);

impl Default for State {
    fn default() -> State {
        State(INITIAL)
    }
}

impl State {
    /// The digest, once the padding was compressed.
    pub fn digest(&self) -> [u8; 32] {
        let mut out = [0; 32];
        for (bytes, word) in out.chunks_exact_mut(4).zip(self.0) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        out
    }
}

/// What is appended to the last bytes of a message of `length` bytes: a one, zeros, and the length in bits.
pub fn padding(length: u64) -> ([u8; 2 * BLOCK], usize) {
    let mut out = [0; 2 * BLOCK];
    let used = usize::try_from(length % BLOCK as u64).unwrap_or(0);
    let size = if used < BLOCK - 8 { BLOCK } else { 2 * BLOCK } - used;
    if let Some(first) = out.first_mut() {
        *first = 0x80;
    }
    if let Some(last) = out.get_mut(size - 8..size) {
        last.copy_from_slice(&length.wrapping_mul(8).to_be_bytes());
    }
    (out, size)
}

/// A hash, and what comes next in it.
pub struct Stream<'a> {
    pub state: &'a mut State,
    pub input: &'a [u8],
}

/// A way to compress blocks of some streams at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kernel {
    /// The crate sha2, one stream after the other: by the instructions of `ARMv8` or x86 where it finds them.
    Portable,
    /// The SHA instructions of x86, one stream.
    ShaNi1,
    /// The same with two streams, whose instructions alternate.
    ShaNi2,
    /// The same with four.
    ShaNi4,
    /// Eight streams in the lanes of AVX2.
    Avx2,
    /// Sixteen streams in the lanes of AVX-512.
    Avx512,
}

impl Kernel {
    /// Every one, whether this processor has it or not.
    pub const ALL: [Kernel; 6] = [
        Kernel::Portable,
        Kernel::ShaNi1,
        Kernel::ShaNi2,
        Kernel::ShaNi4,
        Kernel::Avx2,
        Kernel::Avx512,
    ];

    /// For people and options.
    pub const fn name(self) -> &'static str {
        match self {
            Kernel::Portable => "portable",
            Kernel::ShaNi1 => "sha-ni, one stream",
            Kernel::ShaNi2 => "sha-ni, two streams",
            Kernel::ShaNi4 => "sha-ni, four streams",
            Kernel::Avx2 => "avx2, eight lanes",
            Kernel::Avx512 => "avx512, sixteen lanes",
        }
    }

    /// How many streams it compresses in the time of one.
    pub const fn width(self) -> usize {
        match self {
            Kernel::Portable | Kernel::ShaNi1 => 1,
            Kernel::ShaNi2 => 2,
            Kernel::ShaNi4 => 4,
            Kernel::Avx2 => 8,
            Kernel::Avx512 => LANES,
        }
    }

    /// Does this processor have what it takes?
    pub fn is_here(self) -> bool {
        match self {
            Kernel::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Kernel::ShaNi1 | Kernel::ShaNi2 | Kernel::ShaNi4 => sha_ni::is_here(),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => avx2::is_here(),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => avx512::is_here(),
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// Compresses `blocks` blocks of each of at most [`Kernel::width`] streams, whose inputs have that many. Where the
    /// processor has not what it takes, the same by other means.
    fn compress(self, streams: &mut [Stream<'_>], blocks: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            let done = match self {
                Kernel::Portable => false,
                Kernel::ShaNi1 => sha_ni::compress::<1>(streams, blocks),
                Kernel::ShaNi2 => sha_ni::compress::<2>(streams, blocks),
                Kernel::ShaNi4 => sha_ni::compress::<4>(streams, blocks),
                Kernel::Avx2 => avx2::compress(streams, blocks),
                Kernel::Avx512 => avx512::compress(streams, blocks),
            };
            if done {
                return;
            }
        }
        for stream in streams {
            let (whole, _) = stream.input.as_chunks::<BLOCK>();
            let whole = whole.get(..blocks).unwrap_or_default();
            sha2::block_api::compress256(&mut stream.state.0, whole);
        }
    }
}

/// Which kernels may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Choice {
    /// All that the processor has.
    #[default]
    Auto,
    Avx512,
    Avx2,
    ShaNi,
    Portable,
}

impl Choice {
    /// Every one, by the name on the command line.
    pub const ALL: [(&str, Choice); 5] = [
        ("auto", Choice::Auto),
        ("avx512", Choice::Avx512),
        ("avx2", Choice::Avx2),
        ("sha-ni", Choice::ShaNi),
        ("portable", Choice::Portable),
    ];

    fn takes(self, kernel: Kernel) -> bool {
        let is_sha = matches!(kernel, Kernel::ShaNi1 | Kernel::ShaNi2 | Kernel::ShaNi4);
        match self {
            // Eight lanes are slower than two streams of the instructions that are made for it.
            Choice::Auto => kernel != Kernel::Avx2 || !Kernel::ShaNi1.is_here(),
            Choice::Avx512 => kernel == Kernel::Avx512,
            Choice::Avx2 => kernel == Kernel::Avx2,
            Choice::ShaNi => is_sha,
            Choice::Portable => kernel == Kernel::Portable,
        }
    }
}

/// This processor has not what was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this processor does not have the instructions of {0}")]
pub struct NotHere(&'static str);

/// What compresses, by how many streams there are.
#[derive(Clone, Debug, PartialEq)]
pub struct Engine {
    /// Each kernel that may be used, and its speed.
    kernels: Vec<(Kernel, Speed)>,
    /// Which one begins, for each number of streams from one on.
    plan: [Kernel; LANES],
    /// What that comes to.
    speeds: [Speed; LANES],
}

/// Bytes in a nanosecond, all streams together.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Speed(f64);

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} GB/s", self.0)
    }
}

impl Speed {
    /// How often `other` fits into it.
    pub fn over(self, other: Speed) -> f64 {
        self.0 / other.0
    }
}

/// What is assumed of a kernel until it was measured.
fn usual(kernel: Kernel) -> Speed {
    Speed(match kernel {
        Kernel::Portable | Kernel::ShaNi1 => 1.4,
        Kernel::ShaNi2 => 1.7,
        Kernel::ShaNi4 => 1.6,
        Kernel::Avx2 => 1.0,
        Kernel::Avx512 => 2.6,
    })
}

impl Engine {
    /// With what is assumed of the kernels of `choice`.
    pub fn new(choice: Choice) -> Result<Engine, NotHere> {
        Engine::with(choice, usual)
    }

    /// With what is measured of them; takes less than a millisecond.
    pub fn tuned(choice: Choice) -> Result<Engine, NotHere> {
        let data = vec![0x5a; LANES * SAMPLE];
        Engine::with(choice, |kernel| measured(kernel, &data))
    }

    /// The same, measured once in this process.
    pub fn shared(choice: Choice) -> Result<&'static Engine, NotHere> {
        static ENGINES: [OnceLock<Result<Engine, NotHere>>; Choice::ALL.len()] =
            [const { OnceLock::new() }; Choice::ALL.len()];
        let at = Choice::ALL.iter().position(|(_, one)| *one == choice);
        let engine = at.and_then(|at| ENGINES.get(at));
        let engine = engine.ok_or(NotHere("that"))?;
        let engine = engine.get_or_init(|| Engine::tuned(choice));
        engine.as_ref().map_err(|error| *error)
    }

    fn with(choice: Choice, speed: impl Fn(Kernel) -> Speed) -> Result<Engine, NotHere> {
        let all = Kernel::ALL.into_iter();
        let here = all.filter(|kernel| choice.takes(*kernel) && kernel.is_here());
        let kernels: Vec<(Kernel, Speed)> = here.map(|kernel| (kernel, speed(kernel))).collect();
        if kernels.is_empty() {
            let named = Choice::ALL.iter().find(|(_, one)| *one == choice);
            return Err(NotHere(named.map_or("that", |(name, _)| name)));
        }
        let (plan, speeds) = planned(&kernels);
        Ok(Engine {
            kernels,
            plan,
            speeds,
        })
    }

    /// Compresses `blocks` blocks of each stream, whose inputs have at least that many.
    pub fn compress(&self, mut streams: &mut [Stream<'_>], blocks: usize) {
        let have = |stream: &Stream<'_>| stream.input.len() / BLOCK;
        let blocks = streams.iter().map(have).min().map_or(0, |n| n.min(blocks));
        while blocks > 0 && !streams.is_empty() {
            let kernel = self.kernel(streams.len());
            let now = kernel.width().min(streams.len());
            let (first, rest) = streams.split_at_mut(now);
            kernel.compress(first, blocks);
            streams = rest;
        }
    }

    /// Which kernel begins with so many streams.
    pub fn kernel(&self, streams: usize) -> Kernel {
        let at = streams.clamp(1, LANES) - 1;
        self.plan.get(at).copied().unwrap_or(Kernel::Portable)
    }

    /// How fast so many streams are, together, on one core.
    pub fn speed(&self, streams: usize) -> Speed {
        let at = streams.clamp(1, LANES) - 1;
        self.speeds.get(at).copied().unwrap_or(Speed(1.0))
    }

    /// The kernels that may be used, and their speeds.
    pub fn kernels(&self) -> &[(Kernel, Speed)] {
        &self.kernels
    }
}

/// The best kernel to begin with, and the speed, for each number of streams.
fn planned(kernels: &[(Kernel, Speed)]) -> ([Kernel; LANES], [Speed; LANES]) {
    let first = kernels
        .first()
        .map_or(Kernel::Portable, |(kernel, _)| *kernel);
    let (mut plan, mut speeds) = ([first; LANES], [Speed(1.0); LANES]);
    // Nanoseconds for a byte of each of so many streams.
    let mut times = [0.0; LANES + 1];
    for streams in 1..=LANES {
        let of = |&(kernel, speed): &(Kernel, Speed)| {
            let width = u32::try_from(kernel.width()).unwrap_or(1);
            let rest = streams.saturating_sub(kernel.width());
            let time = f64::from(width) / speed.0 + times.get(rest).copied().unwrap_or(0.0);
            (kernel, time)
        };
        let best = kernels.iter().map(of).min_by(|a, b| a.1.total_cmp(&b.1));
        let Some((kernel, time)) = best else { continue };
        let count = u32::try_from(streams).unwrap_or(1);
        if let (Some(in_plan), Some(speed), Some(known)) = (
            plan.get_mut(streams - 1),
            speeds.get_mut(streams - 1),
            times.get_mut(streams),
        ) {
            *in_plan = kernel;
            *speed = Speed(f64::from(count) / time);
            *known = time;
        }
    }
    (plan, speeds)
}

/// Bytes of each stream in a measurement.
const SAMPLE: usize = 8 * 1024;

/// The best of a few short runs.
fn measured(kernel: Kernel, data: &[u8]) -> Speed {
    let mut states = [State::default(); LANES];
    let mut best = Duration::MAX;
    for _ in 0..4 {
        let inputs = data.chunks(SAMPLE);
        let streams = states.iter_mut().zip(inputs).take(kernel.width());
        let mut streams: Vec<Stream<'_>> = streams
            .map(|(state, input)| Stream { state, input })
            .collect();
        let began = Instant::now();
        kernel.compress(&mut streams, SAMPLE / BLOCK);
        best = best.min(began.elapsed());
    }
    let bytes = u32::try_from(kernel.width() * SAMPLE).unwrap_or(u32::MAX);
    let nanos = u32::try_from(best.as_nanos()).unwrap_or(u32::MAX).max(1);
    Speed(f64::from(bytes) / f64::from(nanos))
}

#[cfg(test)]
mod tests;
